"""boto3's low-level S3 client, made so that it repeats nothing, and its faults turned into ours.

Endpoint, region and credentials come from the usual AWS places.  Path-style addresses are used with
an endpoint that is not Amazon's.  The body is read once: its signature is left out
(``payload_signing_enabled``), because the signed Content-MD5 speaks for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.stores import endpoints, responses
from pipeline.stores.failures import no_answer, refusal
from pipeline.stores.interim import make_patient
from pipeline.stores.tracing import trace_client
from pipeline.transfer.protocol import Payload, UploadLostError
from pipeline.transfer.retry import RetryPolicy, retry_after

_NOTHING = object()
_CODES = {  # S3's own words where the status alone misleads: the status that they are like
    "RequestTimeout": 408,
    "BadDigest": 503,
    "XAmzContentSHA256Mismatch": 503,
    "XAmzContentChecksumMismatch": 503,
    "InvalidDigest": 503,
    "IncompleteBody": 503,
    "InternalError": 503,
    "SlowDown": 503,
    "ServiceUnavailable": 503,
    "OperationAborted": 503,
    "ConditionalRequestConflict": 503,
    "InvalidAccessKeyId": 401,
    "SignatureDoesNotMatch": 401,
    "ExpiredToken": 401,
    "InvalidToken": 401,
    "EntityTooLarge": 413,
    "QuotaExceeded": 413,
}


class SendingPart:
    """A segment's body as the file that botocore reads: a piece at a time, whatever it asks for.

    ``failure`` is what making a piece raised: botocore hides that in an error of its own.
    """

    def __init__(self, payload: Payload) -> None:
        self.failure: BaseException | None = None
        self._payload = payload
        self._pieces = payload.pieces()

    def read(self, size: int = -1) -> Any:
        """The next piece, ``b""`` at the end."""
        del size
        try:
            return next(self._pieces, b"")
        except BaseException as error:
            self.failure = error
            raise

    def __len__(self) -> int:
        return self._payload.size

    def tell(self) -> int:
        """Botocore asks once, to come back here."""
        return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Back to the start: after a redirection to the bucket's region."""
        if (offset, whence) == (0, 0):
            self._pieces = self._payload.pieces()
        return 0


class S3Error(StoreError):
    """A final refusal with S3's own code in ``s3_code``."""

    s3_code = ""


class Client:
    """Requests to one account, from any thread (boto3's clients may be shared)."""

    def __init__(self, policy: RetryPolicy, connections: int) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        settings: Any = {"payload_signing_enabled": False, **_addressing()}
        try:
            session: Any = boto3.session.Session()
            self._s3 = session.client(
                "s3",
                region_name=session.region_name or "us-east-1",
                config=Config(
                    connect_timeout=policy.stall_s,
                    read_timeout=policy.stall_s,
                    max_pool_connections=2 * connections + 2,
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    s3=settings,
                ),
            )
            make_patient(self._s3)
            trace_client(self._s3)
            found = session.get_credentials()
        except (BotoCoreError, ValueError) as error:
            raise _misconfigured(error) from None
        if found is None:
            raise StoreError(
                "store-no-credentials",
                "there are no credentials for s3:// in the usual AWS places",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            )
        endpoint = endpoints.require("the endpoint", str(self._s3.meta.endpoint_url))
        self.host = endpoints.host(endpoint)
        self.is_amazon = _is_amazon(self.host)

    def call(
        self,
        action: str,
        request: Callable[[Any], Any],
        *,
        missing: Any = _NOTHING,
        of_upload: bool = False,
    ) -> Any:
        """The answer to one request; ``missing`` stands for a 404 where it is given.

        ``of_upload``: a 404 means that the store forgot the multipart upload.
        """
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        try:
            return request(self._s3)
        except ClientError as error:
            known = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            forgot = known == 404 and of_upload and _code(error) != "NoSuchBucket"
            if forgot or _code(error) == "NoSuchUpload":
                raise _lost(action) from None
            if known == 404 and missing is not _NOTHING:
                return missing
            raise _refused(action, error, int(known)) from None
        except NoCredentialsError:
            raise refusal(action, 401) from None
        except (BotoCoreError, HTTPError, OSError) as error:
            raise no_answer(action, self.host, error) from None
        except (ResponseParserError, ValueError, TypeError) as error:
            # What botocore cannot read: it trusts that numbers are numbers and lists are lists.
            raise responses.misunderstood(action, str(error)) from None

    def close(self) -> None:
        """Close the connections."""
        self._s3.close()


def _refused(action: str, error: Any, status: int) -> StoreError:
    answer = error.response
    code = _code(error)
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    # An answer of 200 may hold an error: CompleteMultipartUpload sends its status before its work.
    alike = _CODES.get(code, 503 if status < 300 else status)
    if code == "RequestTimeTooSkewed":
        return StoreError(
            "store-clock",
            f"{action}: this machine's clock differs too much from the store's",
            hint="set the clock (timedatectl set-ntp true); the same command continues",
        )
    words = str(answer.get("Error", {}).get("Message", ""))
    # An answer to HEAD has no body: then botocore puts the status where the code should be.
    reason, detail = (words, "") if code.isdigit() else (code, words)
    found = refusal(
        action, alike, reason, detail, retry_after_s=retry_after(headers.get("retry-after"))
    )
    if isinstance(found, TemporaryStoreError):
        return found
    final = S3Error(found.code, found.message, hint=found.hint)
    final.s3_code = "PreconditionFailed" if status == 412 else code
    return final


def _lost(action: str) -> UploadLostError:
    return UploadLostError(
        "upload-lost",
        f"{action}: the store does not know this upload any more",
        hint="somebody or a lifecycle rule aborted it; run the same command again",
    )


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _addressing() -> dict[str, str]:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and not _is_amazon(urlsplit(endpoint).netloc):
        return {"addressing_style": "path"}
    return {}


def _is_amazon(host: str) -> bool:
    name = host.partition(":")[0]
    return name.endswith((".amazonaws.com", ".amazonaws.com.cn")) or name == "s3.amazonaws.com"


def _misconfigured(error: Exception) -> StoreError:
    return StoreError(
        "store-misconfigured",
        f"the AWS settings cannot be used ({type(error).__name__})",
        hint="check AWS_PROFILE, AWS_ENDPOINT_URL_S3 and ~/.aws/config",
    )
