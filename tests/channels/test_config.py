"""Settings of the channels: named, explained, refused when unknown."""

import pytest
from pydantic import BaseModel, ValidationError

from roost_channels.config import DeliveryConfig
from roost_channels.telegram.config import TelegramConfig
from roost_channels.whatsapp.config import TwilioConfig


@pytest.mark.parametrize("model", [TelegramConfig, TwilioConfig, DeliveryConfig])
def test_every_setting_is_explained_and_unknown_ones_are_refused(model: type[BaseModel]) -> None:
    assert all(field.description for field in model.model_fields.values())
    with pytest.raises(ValidationError):
        model.model_validate({"no_such_key": 1})


def test_an_empty_token_means_not_configured() -> None:
    assert not TelegramConfig.model_validate({"token": ""}).configured
    assert not TwilioConfig.model_validate(
        {"account_sid": "", "auth_token": "", "from": ""}
    ).configured


def test_accounts_are_the_bots_id_and_the_sender() -> None:
    telegram = TelegramConfig.model_validate({"token": "42:SECRET"})
    assert telegram.account == "42" and "SECRET" not in repr(telegram)
    twilio = TwilioConfig.model_validate(
        {"account_sid": "AC1", "auth_token": "hidden", "from": "whatsapp:+1555"}
    )
    assert twilio.configured and twilio.account == "whatsapp:+1555" and "hidden" not in repr(twilio)


def test_lists_may_come_as_text_from_the_environment() -> None:
    assert TelegramConfig.model_validate({"allowlist": "1, 2,,3"}).allowlist == ("1", "2", "3")
