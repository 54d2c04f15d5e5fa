import httpx

from scoreboard.kit.health import Health, metrics_app


async def get(health: Health, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(metrics_app(health))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://probe") as client:
        return await client.get(path)


async def test_ready_from_started_to_draining() -> None:
    health = Health()
    assert (await get(health, "/livez")).status_code == 200
    assert (await get(health, "/readyz")).text == "startup: not finished\n"
    health.started = True
    assert (await get(health, "/readyz")).status_code == 200
    health.draining.set()
    assert (await get(health, "/readyz")).status_code == 503
    assert (await get(health, "/livez")).status_code == 200


async def test_only_required_checks_take_a_pod_out() -> None:
    health = Health()
    health.started = True
    health.add_check("cache", lambda: "away", required=False)
    assert health.not_ready() == {}
    assert health.failures(required_only=False) == {"cache": "away"}
    health.add_check("index", lambda: "loading")
    assert (await get(health, "/readyz")).text == "index: loading\n"


async def test_a_check_that_fails_itself_is_a_failure() -> None:
    health = Health()
    health.started = True
    health.add_check("broken", lambda: str(1 // 0))
    assert health.not_ready() == {"broken": "ZeroDivisionError"}


async def test_metrics_are_served() -> None:
    response = await get(Health(), "/metrics")
    assert "scoreboard_http_requests_in_flight" in response.text
    assert (await get(Health(), "/other")).status_code == 404
