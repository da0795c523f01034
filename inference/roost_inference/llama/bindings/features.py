"""Hidden states of a model's layers, and batches of them: what drafters like DFlash read.

llama.cpp keeps these functions in a header for things to come, in C++: a build may lack them or
name them otherwise. So they are looked up by their names in the library, and `reads_features` says
whether all of them are there.
"""

import ctypes
from ctypes import POINTER, c_bool, c_float, c_int32, c_uint32, c_void_p
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from roost_inference.errors import EngineFailed
from roost_inference.llama.bindings.declarations import Batch, declared
from roost_inference.llama.bindings.library import chosen, llama

_SET_TAP: Final = "_Z30llama_set_embeddings_layer_inpP13llama_contextjb"
_GET_TAP: Final = "_Z30llama_get_embeddings_layer_inpP13llama_contextj"
_SET_STATES: Final = "_Z26llama_set_embeddings_nextnP13llama_contextbb"
_GET_STATES: Final = "_Z26llama_get_embeddings_nextnP13llama_context"
_EMBEDDINGS: Final = "_Z24llama_model_get_tok_embdPK11llama_modelPf"
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    _SET_TAP: (None, (c_void_p, c_uint32, c_bool)),
    _GET_TAP: (c_void_p, (c_void_p, c_uint32)),
    _SET_STATES: (None, (c_void_p, c_bool, c_bool)),
    _GET_STATES: (c_void_p, (c_void_p,)),
    _EMBEDDINGS: (c_uint32, (c_void_p, c_void_p)),
    "llama_set_causal_attn": (None, (c_void_p, c_bool)),
    "llama_vocab_mask": (c_int32, (c_void_p,)),
    "llama_encode": (c_int32, (c_void_p, Batch)),
}


def _found() -> Any:
    try:
        # Called without giving up the interpreter's lock: each takes microseconds.
        return declared(ctypes.PyDLL(str(chosen.build.library)), _FUNCTIONS)
    except AttributeError:
        return None


_functions = _found()


def reads_features() -> bool:
    """Whether this build can give hidden states out and take them in."""
    return _functions is not None


def set_tap(context: Any, layer: int, on: bool) -> None:
    """Let the context's next decodes keep the input of a layer, or no more."""
    getattr(_functions, _SET_TAP)(context, layer, on)


def tap_address(context: Any, layer: int) -> int:
    """Address of the last decode's inputs of a tapped layer, float32: a row for each of the
    batch's, in their order. A layer that is not tapped ends the process."""
    return getattr(_functions, _GET_TAP)(context, layer) or 0


def set_states(context: Any) -> None:
    """Let a drafter's context keep the states that its rows with logits leave."""
    getattr(_functions, _SET_STATES)(context, True, True)


def states_address(context: Any) -> int:
    """Address of these states of the last decode or encode, float32, 0 without."""
    return getattr(_functions, _GET_STATES)(context) or 0


def set_causal(context: Any, is_causal: bool) -> None:
    """Whether a row of the context sees only tokens before it."""
    _functions.llama_set_causal_attn(context, is_causal)


def mask_token(vocabulary: Any) -> int:
    """The token that stands for one to be guessed, -1 where the model has none."""
    return int(_functions.llama_vocab_mask(vocabulary))


def embeddings(model: Any, tokens: int, width: int) -> NDArray[np.float32]:
    """[tokens, width] embeddings of all tokens; EngineFailed where llama.cpp can't tell them."""
    made = np.empty((tokens, width), np.float32)
    read = getattr(_functions, _EMBEDDINGS)
    if read(model, None) != made.size or read(model, made.ctypes.data) != made.size:
        raise EngineFailed("llama.cpp does not give the model's embeddings out")
    return made


def layers_and_width(model: Any) -> tuple[int, int]:
    """A model's layers, and the numbers of one of its hidden states."""
    return int(llama.llama_model_n_layer(model)), int(llama.llama_model_n_embd(model))


def use_features(batch: Any, features: Any, *, and_tokens: bool = False) -> Any:
    """A batch like `batch` over the features, numpy memory that the caller owns, in place of the
    tokens, or beside them."""
    made = Batch.from_buffer_copy(batch)
    made.embd = ctypes.cast(features.ctypes.data, POINTER(c_float))
    if not and_tokens:
        made.token = None
    return made


def encode(context: Any, batch: Any, rows: int) -> int:
    """Compute the first `rows` rows of a batch of features with the encoder; 0 if that is done."""
    batch.n_tokens = rows
    return int(_functions.llama_encode(context, batch))
