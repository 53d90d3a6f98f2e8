"""What libraries raise becomes one of the outcomes."""

import errno
import zlib
from http.client import IncompleteRead
from urllib.error import URLError

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from alexnet_remote.outcome import DeniedError, LocalError, MissingError, TransportError, TroubleError, named_errors


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (FileNotFoundError("x"), MissingError),
        (PermissionError("x"), DeniedError),
        (NoCredentialsError(), DeniedError),
        (OSError(errno.EMFILE, "Too many open files"), LocalError),
        (URLError(OSError(errno.ENFILE, "Too many open files in system")), LocalError),
        (MemoryError(), LocalError),
        (ConnectionRefusedError("x"), TroubleError),
        (URLError(TimeoutError("timed out")), TroubleError),
        (IncompleteRead(b"", 3), TroubleError),
        (EndpointConnectionError(endpoint_url="http://x"), TroubleError),
        (zlib.error("x"), TroubleError),
        (ValueError("x\ny"), TroubleError),
    ],
)
def test_outcomes(raised: Exception, outcome: type[TransportError]) -> None:
    with pytest.raises(TransportError) as error, named_errors("https://h/x"):
        raise raised
    assert type(error.value) is outcome
    assert str(error.value)
    assert "\n" not in str(error.value)


def test_a_store_of_objects_hides_absence() -> None:
    with pytest.raises(MissingError) as error, named_errors("s3://b/x"):
        raise PermissionError("Forbidden")
    assert error.value.hidden


def test_what_google_denies() -> None:
    retry = pytest.importorskip("gcsfs.retry")
    for code, answer in ((403, b"Anonymous caller does not have storage.objects.get access"), (401, b"Login required")):
        with pytest.raises(MissingError) as error, named_errors("gs://b/x"):
            retry.validate_response(code, answer, "b/x")
        assert error.value.hidden
    for code in (429, 500, 502, 503):
        with pytest.raises(TroubleError), named_errors("gs://b/x"):
            retry.validate_response(code, b"Later", "b/x")


def test_secrets_in_other_libraries_words() -> None:
    with pytest.raises(TroubleError) as error, named_errors("https://h/x"):
        raise OSError("GET https://u:hunter2@h/x?sig=deadbeef failed")
    assert "hunter2" not in str(error.value)
    assert "deadbeef" not in str(error.value)
