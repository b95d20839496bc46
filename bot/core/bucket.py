"""The bucket: immutable objects in S3. The only file that speaks to S3.

boto3 is blocking, so each call runs in a thread of this adapter's own. Object names are relative
to the setting's prefix.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, ParamSpec, TypeVar, cast

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from bot.core.errors import Errored, Full, SettingInvalid

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 16
_ABSENT = frozenset({"NoSuchKey", "NoSuchUpload", "404", "NotFound"})
_FULL = frozenset(
    {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
)
"""Codes of a bucket that takes no more: of servers of one's own, since Amazon's knows no end."""
_REFUSED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"})
_STREAM = TransferConfig(
    multipart_threshold=8_388_608, multipart_chunksize=8_388_608, max_concurrency=2
)


class NotInBucket(Errored):
    """The object is not there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not in the bucket", code="object_missing")


class Entry(NamedTuple):
    """One object: its size in bytes, and when it was written last, in ms since the epoch."""

    name: str
    size: int
    modified_at: int


class Upload(NamedTuple):
    """An upload in parts that has not ended; `begun_at` in ms since the epoch."""

    name: str
    id: str
    begun_at: int


class Bucket:
    """One bucket, under a prefix. Raises `Errored` (code `bucket_…`) when S3 fails."""

    def __init__(
        self,
        name: str,
        *,
        prefix: str = "",
        endpoint_url: str = "",
        credentials: Mapping[str, Any] | None = None,
    ) -> None:
        """`credentials` (`aws_access_key_id` …) override AWS's own chain; tests use it.

        Raises `SettingInvalid` for what AWS's own variables and files say that cannot be.
        """
        self.name = name
        self.prefix = prefix
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bucket")
        try:
            self._client = _client(endpoint_url, credentials or {})
        except (BotoCoreError, ValueError) as error:
            raise SettingInvalid("PUSHLANE_S3_BUCKET", f"cannot be used: {error}") from error

    async def aclose(self) -> None:
        """Closes the connections; calls under way are awaited."""
        await asyncio.to_thread(self._threads.shutdown)
        self._client.close()

    async def put(self, name: str, body: bytes, *, content_type: str) -> None:
        """Writes one object in one request."""
        await self._call(
            self._client.put_object,
            Bucket=self.name,
            Key=self.prefix + name,
            Body=body,
            ContentType=content_type,
        )

    async def put_stream(self, name: str, reader: BinaryIO, *, content_type: str) -> None:
        """Writes one object from a blocking reader of unknown length, and closes the reader.

        When `read` raises, nothing is left: the upload is aborted and the error comes out here.
        """

        def write() -> None:
            # Here, since a thread goes on when nobody waits for it any more.
            with reader:
                self._client.upload_fileobj(
                    reader,
                    self.name,
                    self.prefix + name,
                    ExtraArgs={"ContentType": content_type},
                    Config=_STREAM,
                )

        await self._call(write)

    async def get(self, name: str) -> bytes:
        """The whole of a small object. Raises `NotInBucket`."""

        def read() -> bytes:
            with self._client.get_object(Bucket=self.name, Key=self.prefix + name)["Body"] as body:
                return body.read()

        return await self._call(read)

    async def get_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. A short read raises `Errored`."""
        if not length:
            return b""
        wanted = f"bytes={offset}-{offset + length - 1}"

        def read() -> bytes:
            found = self._client.get_object(Bucket=self.name, Key=self.prefix + name, Range=wanted)
            with found["Body"] as body:
                return body.read()

        found = await self._call(read)
        if len(found) != length:
            raise Errored(
                f"{name} gave {len(found)} of {length} bytes at {offset}", code="bucket_short_read"
            )
        return found

    @asynccontextmanager
    async def stream(
        self, name: str, *, chunk: int = 1 << 20
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The object's bytes as they come, `chunk` at a time. Raises `NotInBucket`."""
        found = await self._call(self._client.get_object, Bucket=self.name, Key=self.prefix + name)
        body = found["Body"]

        async def chunks() -> AsyncIterator[bytes]:
            while read := await self._call(body.read, chunk):
                yield read

        try:
            yield chunks()
        finally:
            body.close()

    async def size(self, name: str) -> int | None:
        """The object's size in bytes, or None when it is not there."""
        try:
            found = await self._call(
                self._client.head_object, Bucket=self.name, Key=self.prefix + name
            )
        except NotInBucket:
            return None
        return found["ContentLength"]

    async def delete(self, name: str) -> None:
        """Removes an object; one that is not there is fine."""
        await self._call(self._client.delete_object, Bucket=self.name, Key=self.prefix + name)

    async def list(self, prefix: str) -> list[str]:
        """The names of all objects below `prefix`, in order; `pages` where there may be many."""
        return [entry.name async for page in self.pages(prefix) for entry in page]

    async def pages(self, prefix: str) -> AsyncIterator[tuple[Entry, ...]]:
        """The objects below `prefix` in order, at most 1,000 at a time."""
        after: dict[str, str] = {}
        while True:
            found = await self._call(
                self._client.list_objects_v2,
                Bucket=self.name,
                Prefix=self.prefix + prefix,
                **cast(Any, after),
            )
            yield tuple(
                Entry(
                    each["Key"].removeprefix(self.prefix), each["Size"], _ms(each["LastModified"])
                )
                for each in found.get("Contents", ())
            )
            if "NextContinuationToken" not in found:
                return
            after = {"ContinuationToken": found["NextContinuationToken"]}

    async def uploads(self, prefix: str) -> AsyncIterator[tuple[Upload, ...]]:
        """The uploads in parts below `prefix` that have not ended, at most 1,000 at a time."""
        after: dict[str, str] = {}
        while True:
            found = await self._call(
                self._client.list_multipart_uploads,
                Bucket=self.name,
                Prefix=self.prefix + prefix,
                **cast(Any, after),
            )
            yield tuple(
                Upload(
                    each["Key"].removeprefix(self.prefix), each["UploadId"], _ms(each["Initiated"])
                )
                for each in found.get("Uploads", ())
            )
            if not found.get("IsTruncated"):
                return
            after = {
                "KeyMarker": found.get("NextKeyMarker", ""),
                "UploadIdMarker": found.get("NextUploadIdMarker", ""),
            }

    async def abort(self, upload: Upload) -> None:
        """Ends an upload in parts: nothing of it stays. One that has ended is fine."""
        with suppress(NotInBucket):
            await self._call(
                self._client.abort_multipart_upload,
                Bucket=self.name,
                Key=self.prefix + upload.name,
                UploadId=upload.id,
            )

    async def ready(self, *, make: bool = False) -> None:
        """Raises `Errored` when the bucket cannot be used; with `make` it is made first."""
        try:
            await self._call(self._client.head_bucket, Bucket=self.name)
        except NotInBucket:
            if not make:
                raise Errored(
                    f"there is no bucket {self.name!r}: make it, or set PUSHLANE_S3_BUCKET",
                    code="bucket_missing",
                ) from None
            await self._call(self._client.create_bucket, Bucket=self.name)

    async def _call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
        except ClientError as error:
            raise _translated(error, kwargs.get("Key")) from error
        except (BotoCoreError, boto3.exceptions.Boto3Error, OSError) as error:
            if isinstance(error.__context__, ClientError):
                # What uploads a file tells of S3's answer in words alone.
                raise _translated(error.__context__, kwargs.get("Key")) from error
            raise Errored(f"S3 cannot be reached: {error}", code="bucket_unreachable") from error


def _client(endpoint_url: str, credentials: Mapping[str, Any]) -> S3Client:
    session = boto3.session.Session(**credentials)
    return session.client(
        "s3",
        # A server of one's own needs some region in the signatures, and any will do.
        region_name=session.region_name or ("us-east-1" if endpoint_url else None),
        endpoint_url=endpoint_url or None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if endpoint_url else "auto"},
            max_pool_connections=THREADS * 2,
            connect_timeout=3,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 4},
            # Older S3-compatible servers know none of the newer default checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _translated(error: ClientError, name: object) -> Errored:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _ABSENT:
        return NotInBucket(str(name or "the object"))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE:
        return Full(
            f"the bucket is full ({code}): raise its quota, or make room in it", code="bucket_full"
        )
    if code in _REFUSED:
        return Errored(
            f"S3 refused the credentials ({code}): check AWS_ACCESS_KEY_ID and the bucket's policy",
            code="bucket_refused",
        )
    return Errored(f"S3 failed: {error}", code="bucket_failed")
