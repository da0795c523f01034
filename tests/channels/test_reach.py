"""Which addresses are public, and so may be asked for everybody."""

import pytest

from roost_channels.http.egress import reach


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("93.184.216.34", "public"),
        ("2606:2800:220:1:248:1893:25c8:1946", "public"),
        *((a, "loopback") for a in ("127.0.0.1", "127.255.0.1", "::1")),
        *((a, "private") for a in ("10.1.2.3", "172.31.0.1", "192.168.1.1", "fc00::1", "fd12::1")),
        *(
            (a, "refused")
            for a in (
                "0.0.0.0",
                "100.64.0.1",
                "169.254.169.254",
                "192.0.2.1",
                "198.18.0.1",
                "224.0.0.1",
                "240.0.0.1",
                "255.255.255.255",
                "192.88.99.1",
                "::",
                "::ffff:127.0.0.1",
                "::ffff:93.184.216.34",
                "64:ff9b::7f00:1",
                "2002:7f00:1::1",
                "2001:0:7f00:1::1",
                "fe80::1",
                "fe80::1%eth0",
                "fec0::1",
                "ff02::1",
                "2001:db8::1",
                "not an address",
            )
        ),
    ],
)
def test_s9_every_range_that_is_not_public_is_known(address: str, where: str) -> None:
    assert reach(address) == where
