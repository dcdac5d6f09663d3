"""A real S3 server process (moto), with correct conditional puts. In memory: what it holds ends with it."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from .env import STATE, free_port
from .wait import wait_until


class Moto:
    """An S3 server on a free port of 127.0.0.1. Any credentials do; `env` has some for a server process.

        with Moto() as s3:
            s3.create_bucket("b")
            Cluster(config={"elacsym.storage_url": "s3://b/prefix", **s3.settings}, env=s3.env)
    """

    def __init__(self):
        self.port = free_port()
        self.process: subprocess.Popen | None = None
        self.log_path = STATE / "logs" / f"moto-{self.port}.log"

    @property
    def endpoint(self) -> str:
        """http://127.0.0.1:PORT"""
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict:
        """Environment variables that give a process credentials."""
        return {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}

    @property
    def settings(self) -> dict:
        """PostgreSQL settings that point elacsym here."""
        return {"elacsym.s3_endpoint": self.endpoint, "elacsym.s3_region": "us-east-1", "elacsym.s3_path_style": "on"}

    def start(self) -> "Moto":
        """Starts the server (also again after `stop`, on the same port, empty) and waits until it answers."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(self.port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **self.env},
            )  # fmt: skip
        wait_until(self._answers, "moto to answer", timeout=30, interval=0.1)
        return self

    def _answers(self) -> bool:
        assert self.process and self.process.poll() is None, f"moto ended: {self.log_path.read_text()[-2000:]}"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{self.endpoint}/moto-api/", timeout=2).close()
            return True
        return False

    def stop(self) -> None:
        """Ends the server; what it held is gone."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self.process = None

    def pause(self) -> None:
        """Stops the process without ending it: requests hang (SIGSTOP)."""
        self.process.send_signal(19)

    def resume(self) -> None:
        """Ends a `pause`."""
        self.process.send_signal(18)

    def reset(self) -> None:
        """Empties the server."""
        self._request("POST", "/moto-api/reset")

    def create_bucket(self, name: str) -> str:
        """Creates a bucket, returns its name."""
        self._request("PUT", f"/{name}")
        return name

    def create_user(self, name: str, allow: str | None = None) -> tuple[str, str]:
        """An IAM user who may do `allow` (an action pattern) everywhere, or nothing; returns the access key and its secret."""
        iam = self._client("iam")
        iam.create_user(UserName=name)
        if allow:
            statement = {"Effect": "Allow", "Action": allow, "Resource": "*"}
            iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def check_credentials(self) -> None:
        """From now on every request must be signed by a user, who must be allowed to do it."""
        self._request("POST", "/moto-api/reset-auth", b"0")

    def _client(self, service: str):
        import boto3

        return boto3.client(service, endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Every key of the bucket below the prefix."""
        pages = self._client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [o["Key"] for page in pages for o in page.get("Contents", [])]

    def get(self, bucket: str, key: str) -> bytes:
        """The bytes of one object."""
        return self._request("GET", f"/{bucket}/{key}")

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Overwrites one object (to corrupt it, say)."""
        self._request("PUT", f"/{bucket}/{key}", body)

    def begin_upload(self, bucket: str, key: str) -> None:
        """Begins an upload in parts; moto says of every one that it began in 2010."""
        self._client("s3").create_multipart_upload(Bucket=bucket, Key=key)

    def uploads(self, bucket: str) -> list[str]:
        """Keys of the uploads in parts that are not complete."""
        return [upload["Key"] for upload in self._client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        # moto wants to see an access key, and checks no signature
        headers = {
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
            "Content-Type": "application/octet-stream",  # urllib's default would be parsed as a form
        }
        request = urllib.request.Request(self.endpoint + path, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read()

    def __enter__(self) -> "Moto":
        return self.start()

    def __exit__(self, *_):
        self.stop()
