"""An embedded SeaweedFS, which speaks S3: the command that serves it, and what leads to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from apps.devstack import ports, private
from apps.devstack.programs import seaweed_binary

BUCKET = "zerobatch"
REGION = "us-east-1"  # any would do
ACCESS_KEY_ID = "zerobatch"
VARIABLES = (
    "STORAGE",
    "S3_BUCKET",
    "S3_PREFIX",
    "S3_ENDPOINT_URL",
    "S3_REGION",
    "S3_ADDRESSING_STYLE",
    "S3_ENCRYPTION",
    "S3_KMS_KEY_ID",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
"""What leads to a bucket, and how it is written to."""
OFF = {
    "admin.ui": "false",
    "webdav": "false",
    "s3.port.iceberg": "0",
    "s3.port.lance": "0",
    "s3.autoCreateBucket": "false",
}


@dataclass(frozen=True)
class Server:
    """One server and its bucket, with its data in `folder`."""

    folder: Path
    port: int
    metrics_port: int
    secret_key: str

    def argv(self) -> list[str]:
        """The command line. Besides S3 there are servers in it that only serve one another."""
        claimed = {f"{name}.port": ports.claim_any() for name in ("master", "volume", "filer", "admin")}
        claimed |= {f"{name}.port.grpc": ports.claim_any() for name in ("master", "volume", "filer", "admin", "s3")}
        options: dict[str, object] = {
            "dir": self.folder / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "bucket": BUCKET,
            "s3.port": self.port,
            "metricsIp": "127.0.0.1",
            "metricsPort": self.metrics_port,
            **claimed,
            **OFF,
        }
        return [str(seaweed_binary()), "mini", *(f"-{name}={value}" for name, value in options.items())]

    def env(self) -> dict[str, str]:
        """Who may use it; not arguments, those are there for every user of the machine to see."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def variables(self) -> dict[str, str]:
        """What has our processes use it."""
        return {
            "STORAGE": "s3",
            "S3_BUCKET": BUCKET,
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "S3_REGION": REGION,
            **self.env(),
            "AWS_SESSION_TOKEN": "",  # of other keys
        }


def prepare(folder: Path) -> Server:
    """The server of `folder`, on a port that is free now."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(mode=0o700, exist_ok=True)  # the programs inside write for everybody to read
    return Server(folder, ports.claim_any(), ports.claim_any(), private.secret(folder / "secret_key"))


def answers(variables: Mapping[str, str]) -> bool:
    """Is the bucket there, and may we use it?"""
    import boto3  # noqa: PLC0415  takes a while, and not every stack needs it
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    client = boto3.client(
        "s3",
        endpoint_url=variables["S3_ENDPOINT_URL"],
        region_name=variables["S3_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5),
    )
    try:
        client.head_bucket(Bucket=variables["S3_BUCKET"])
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True
