"""Where a store keeps things, seen by somebody else's client: everything that is there, by name.

A place belongs to one test: its container, bucket or directory has a name of its own.
"""

from __future__ import annotations

import contextlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import servers


class Place(ABC):
    """One destination, empty at first."""

    kind: str
    minimum = 1  # bytes of every segment but the last
    checks = True  # the server compares what it receives with the checksums that are sent

    env: Mapping[str, str]

    @property
    @abstractmethod
    def url(self) -> str:
        """The destination, as the command line takes it."""

    @abstractmethod
    def create(self) -> None:
        """Make the container, bucket or directory."""

    @abstractmethod
    def everything(self) -> dict[str, int]:
        """Every byte that is kept for this destination: objects, segments, uploads under way."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The whole object."""

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Somebody else's object."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove one thing of ``everything``."""

    def objects(self) -> set[str]:
        """The names that a person sees."""
        return {name for name in self.everything() if "segments" not in name.split("/")[0]}


class Directory(Place):
    """A directory of the file system."""

    kind = "directory"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {}

    @property
    def url(self) -> str:
        return f"file://{self.path}/"

    def create(self) -> None:
        self.path.mkdir()

    def everything(self) -> dict[str, int]:
        found = (path for path in self.path.rglob("*") if path.is_file())
        return {str(path.relative_to(self.path)): path.stat().st_size for path in found}

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        (self.path / name).write_bytes(data)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    def objects(self) -> set[str]:
        return {name for name in self.everything() if not name.startswith(".")}


class Swift(Place):
    """A container, and the containers that begin with its name."""

    kind = "swift"

    def __init__(self, env: Mapping[str, str], prefix: str = "") -> None:
        self.container = f"c{uuid.uuid4().hex[:12]}"
        self.prefix = prefix
        self.env = {key: value for key, value in env.items() if key.startswith("ST_")}

    @property
    def url(self) -> str:
        return f"swift://{self.container}/{self.prefix}"

    def client(self) -> Any:
        from swiftclient.client import Connection

        return Connection(self.env["ST_AUTH"], self.env["ST_USER"], self.env["ST_KEY"], retries=3)

    def create(self) -> None:
        with contextlib.closing(self.client()) as client:
            client.put_container(self.container)

    def everything(self) -> dict[str, int]:
        with contextlib.closing(self.client()) as client:
            containers = client.get_account(prefix=self.container, full_listing=True)[1]
            return {
                (name if held["name"] == self.container else f"{held['name']}/{name}"): size
                for held in containers
                for name, size in self._listing(client, held["name"])
            }

    @staticmethod
    def _listing(client: Any, container: str) -> list[tuple[str, int]]:
        objects = client.get_container(container, full_listing=True)[1]
        return [(item["name"], item["bytes"]) for item in objects]

    def read(self, name: str) -> bytes:
        with contextlib.closing(self.client()) as client:
            data: bytes = client.get_object(self.container, self.prefix + name)[1]
            return data

    def head(self, name: str) -> dict[str, str]:
        with contextlib.closing(self.client()) as client:
            headers: dict[str, str] = client.head_object(self.container, self.prefix + name)
            return headers

    def put(self, name: str, data: bytes) -> None:
        with contextlib.closing(self.client()) as client:
            client.put_object(self.container, self.prefix + name, data)

    def remove(self, name: str) -> None:
        container, _, rest = name.partition("/")
        with contextlib.closing(self.client()) as client:
            if container.startswith(self.container):
                client.delete_object(container, rest)
            else:
                client.delete_object(self.container, name)


class S3(Place):
    """A bucket; parts of multipart uploads count as things that are kept."""

    kind = "s3"
    minimum = 5 << 20

    def __init__(self, env: Mapping[str, str], prefix: str = "") -> None:
        self.bucket = f"b{uuid.uuid4().hex[:12]}"
        self.prefix = prefix
        self.env = {key: value for key, value in env.items() if key.startswith("AWS_")}

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def client(self) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.env["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            region_name=self.env["AWS_DEFAULT_REGION"],
            config=Config(s3={"addressing_style": "path"}),
        )

    def create(self) -> None:
        self.client().create_bucket(Bucket=self.bucket)

    def everything(self) -> dict[str, int]:
        client = self.client()
        found = client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        kept = {item["Key"]: item["Size"] for item in found}
        for upload in client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []):
            key, token = upload["Key"], upload["UploadId"]
            parts = client.list_parts(Bucket=self.bucket, Key=key, UploadId=token).get("Parts", [])
            kept[f"segments/{key}/{token}"] = sum(part["Size"] for part in parts)
        return kept

    def parts(self) -> set[int]:
        """The parts of uploads under way, numbered from 0."""
        client, found = self.client(), set()
        for upload in client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []):
            key, token = upload["Key"], upload["UploadId"]
            parts = client.list_parts(Bucket=self.bucket, Key=key, UploadId=token).get("Parts", [])
            found |= {part["PartNumber"] - 1 for part in parts}
        return found

    def read(self, name: str) -> bytes:
        answer = self.client().get_object(Bucket=self.bucket, Key=self.prefix + name)
        data: bytes = answer["Body"].read()
        return data

    def put(self, name: str, data: bytes) -> None:
        self.client().put_object(Bucket=self.bucket, Key=self.prefix + name, Body=data)

    def remove(self, name: str) -> None:
        if not name.startswith("segments/"):
            self.client().delete_object(Bucket=self.bucket, Key=name)
            return
        key, _, token = name.removeprefix("segments/").rpartition("/")
        self.client().abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=token)


KINDS = ("directory", "swift", "swift-s3", "radosgw-swift", "radosgw-s3")


def make(config: Any, kind: str, scratch: Path, prefix: str = "") -> Place:
    """A new place of one of the KINDS; its container is made."""
    if kind == "directory":
        place: Place = Directory(scratch / "destination")
    else:
        server = servers.swift(config) if kind.startswith("swift") else servers.radosgw(config)
        place = (S3 if kind.endswith("s3") else Swift)(server.env, prefix)
        place.checks = kind != "radosgw-s3"
    place.kind = kind
    place.create()
    return place
