"""Which links of Meta's may be asked with the token."""

from roost_channels.whatsapp_cloud.client import is_metas


def test_s9_hosts_of_metas_files() -> None:
    base = "https://graph.facebook.com/v25.0"
    for url in (
        "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1",
        "https://graph.facebook.com/x",
        "https://scontent.xx.fbcdn.net/v/t1",
    ):
        assert is_metas(url, base)
    for url in (
        "http://lookaside.fbsbx.com/",
        "https://lookaside.fbsbx.com:8443/",
        "https://fbsbx.com.evil.example/",
        "https://evilfbsbx.com/",
        "https://x@lookaside.fbsbx.com/",
        "https://lookaside.fbsbx.com@evil.example/",
        "https://graph.facebook.com:444/",
        "http://[",
        "",
    ):
        assert not is_metas(url, base), url
