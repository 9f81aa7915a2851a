"""Whether a server answers, found out at once."""


def require_answer(url: str) -> None:
    """Raise within seconds if ``url`` cannot be had.

    TensorFlow Datasets tries for minutes before it gives up.

    Raises:
        OSError: no answer, or one that says no.
    """
    import requests

    # Streamed: the headers are enough, and the content stays where it is.
    with requests.get(url, timeout=5, stream=True) as response:
        response.raise_for_status()
