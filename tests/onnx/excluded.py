"""Backend tests that do not pass, each with the reason; one that is listed and passes is an error."""

EXCLUDED: dict[str, str] = {}
