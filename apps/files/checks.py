"""Refuses at start what would send files to the wrong place, or to none."""

import re
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}|arn:[A-Za-z0-9:/_.-]+")
PREFIX = re.compile(r"[A-Za-z0-9!_.'()-]+(/[A-Za-z0-9!_.'()-]+)*")


@register
def bucket_is_named(**_: Any) -> list[CheckMessage]:
    """zerobatch.E030: with STORAGE=s3 there is a bucket, and its name can be one."""
    if settings.STORAGE != "s3" or BUCKET.fullmatch(settings.S3_BUCKET):
        return []
    hint = "Set S3_BUCKET to the name of a bucket that exists; ZeroBatch makes none."
    return [Error("STORAGE is s3, and S3_BUCKET names no bucket", hint=hint, id="zerobatch.E030")]


@register
def prefix_is_a_path(**_: Any) -> list[CheckMessage]:
    """zerobatch.E031: keys are made by putting things behind it."""
    if not settings.S3_PREFIX or PREFIX.fullmatch(settings.S3_PREFIX):
        return []
    hint = "Give a path without slashes at its ends, such as zerobatch or teams/zerobatch."
    return [Error("S3_PREFIX cannot be used", hint=hint, id="zerobatch.E031")]


@register
def key_is_for_kms(**_: Any) -> list[CheckMessage]:
    """zerobatch.E032: S3 would refuse every write."""
    if not settings.S3_KMS_KEY_ID or settings.S3_ENCRYPTION.startswith("aws:kms"):
        return []
    hint = "Set S3_ENCRYPTION to aws:kms, or unset S3_KMS_KEY_ID."
    return [Error("S3_KMS_KEY_ID is set, and S3_ENCRYPTION is not aws:kms", hint=hint, id="zerobatch.E032")]


@register
def bucket_is_used(**_: Any) -> list[CheckMessage]:
    """zerobatch.W033: a bucket that nobody writes to is a STORAGE that somebody forgot."""
    if settings.STORAGE == "s3" or not (settings.S3_BUCKET or settings.S3_REDIRECT_DOWNLOADS):
        return []
    hint = "Set STORAGE=s3, or unset the variables that begin with S3_."
    return [Warning("There are settings for S3, and STORAGE is folder", hint=hint, id="zerobatch.W033")]
