"""Connecting to Temporal, and knowing that it really answers."""

import asyncio
import time
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

CONNECT_TRY_EVERY_S: Final = 0.1


async def connect(
    address: str, namespace: str = "default", *, timeout_s: float = 30.0, identity: str = ""
) -> Client:
    """A client whose server answers for this namespace. Raises TimeoutError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            client = await Client.connect(address, namespace=namespace, identity=identity or None)
            # A listening port is not a ready server: the namespace appears a little later.
            await client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=namespace)
            )
            return client
        except (RPCError, RuntimeError) as error:
            if time.monotonic() >= deadline:
                raise TimeoutError(
                    f"Temporal at {address} (namespace {namespace!r}) did not answer"
                    f" within {timeout_s:g} s: {error}"
                ) from error
            await asyncio.sleep(CONNECT_TRY_EVERY_S)
