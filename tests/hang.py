"""A fault for the loopback server: second calls never come back."""


def hang_on_improve(body: dict, before: int) -> str | None:
    return "hang" if body["messages"][0]["content"].startswith("Improve") else None
