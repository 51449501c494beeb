"""Django's, Celery's and ZeroBatch's settings; docs/configuration.md describes the environment variables."""

from pathlib import Path
from typing import Any

import dj_database_url

from apps.observability.logs import logging_config
from zerobatch import env, schedule
from zerobatch.postgres.connection import Connection

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Django -----------------------------------------------------------------------------------------------------------
INSECURE_SECRET_KEY = "insecure-until-SECRET_KEY-is-set"  # noqa: S105  refused outside DEBUG by the check zerobatch.E001
SECRET_KEY = env.text("SECRET_KEY", INSECURE_SECRET_KEY)
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
DEBUG = env.flag("DEBUG", default=False)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "apps.operations",
    "apps.operations.admin_app.OperatorsAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "apps.api",
    "apps.observability",
    "apps.projects",
    "apps.idempotency",
    "apps.files",
    "apps.upstreams",
    "apps.webhooks",
    "apps.batches",
    "apps.console",
    "apps.reference",
    "apps.devstack",
]

MIDDLEWARE = [
    "apps.api.middleware.RequestIdMiddleware",
    "apps.observability.middleware.RequestLogMiddleware",
    "apps.api.middleware.CrossOriginMiddleware",
    "apps.api.middleware.DrainMiddleware",
    "apps.projects.throttling.RateLimitHeadersMiddleware",
    "apps.console.middleware.ConsoleHeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "zerobatch.urls"
WSGI_APPLICATION = "zerobatch.wsgi.application"
APPEND_SLASH = False  # a slash too many is a 404 in the envelope, not a redirect that loses the body
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SECURE_COOKIES = env.flag("SECURE_COOKIES", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_COOKIES
# From nobody else is a word taken about who the client is and what it spoke (apps/api/wsgi.py).
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES", "127.0.0.0/8,::1/128")
# Behind a proxy that ends TLS. We speak plain HTTP, so only its header tells what the client spoke.
PROXY_SSL_HEADER = env.text("PROXY_SSL_HEADER")
if PROXY_SSL_HEADER:
    SECURE_PROXY_SSL_HEADER = (f"HTTP_{PROXY_SSL_HEADER.upper().replace('-', '_')}", "https")
SECURE_SSL_REDIRECT = env.flag("SSL_REDIRECT", default=False)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]  # probes come straight to the process, without the proxy
SECURE_HSTS_SECONDS = env.number("HSTS_SECONDS", 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.flag("HSTS_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.flag("HSTS_PRELOAD", default=False)
CSRF_COOKIE_HTTPONLY = True  # scripts find the token in the page

# The first knows nobody; it stops who has guessed too often.
AUTHENTICATION_BACKENDS = ["apps.projects.sign_in.Throttle", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]

# --- Postgres ---------------------------------------------------------------------------------------------------------
DATABASE_POOL_SIZE = env.number("DATABASE_POOL_SIZE", 10, least=2)
_database = dj_database_url.parse(
    env.url("DATABASE_URL", "postgres://zerobatch@127.0.0.1:5432/zerobatch", ("postgres", "postgresql"))
)
SILENCE_AT_THE_SERVER = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "tcp_keepalives_idle": 10,
        "tcp_keepalives_interval": 5,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "idle_in_transaction_session_timeout": 60_000,
    }.items()
)
"""What Postgres is asked to do for each of our sessions; milliseconds, but for the keepalives."""
DATABASES: dict[str, Any] = {
    "default": {
        **_database,
        "ENGINE": "zerobatch.postgres",
        # The process's threads share a few connections (architecture.md §3); a pool excludes persistent connections.
        "CONN_MAX_AGE": 0,
        # Looks at a connection before lending it: after a restart of Postgres all of the pool's are dead.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **_database.get("OPTIONS", {}),
            "pool": {
                "min_size": 1,
                "max_size": DATABASE_POOL_SIZE,
                "timeout": 4,
                # Give up soon and begin anew: the pauses between attempts double, up to half a minute.
                "reconnect_timeout": 2,
                "connection_class": Connection,
            },
            "connect_timeout": 5,
            # A network that loses packets tells nobody: without these a wait for an answer would last for hours, and
            # Postgres would keep the locks of a client that is gone for as long.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            "options": f"{SILENCE_AT_THE_SERVER} {_database.get('OPTIONS', {}).get('options', '')}".strip(),
        },
    }
}

# --- Files ------------------------------------------------------------------------------------------------------------
STORAGE = env.choice("STORAGE", "folder", ("folder", "s3"))
STORAGE_DIR = Path(env.text("STORAGE_DIR", str(BASE_DIR / "var" / "storage")))
STORAGES: dict[str, Any] = {
    # Keys are unique or deterministic, so a second write of the same key is a repetition and may replace the first.
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": STORAGE_DIR, "allow_overwrite": True},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# Credentials are boto3's to find: in the environment, a profile, or from the instance's role.
S3_BUCKET = env.text("S3_BUCKET")
S3_PREFIX = env.text("S3_PREFIX")
S3_ENDPOINT_URL = env.url("S3_ENDPOINT_URL", "", ("http", "https"))
S3_REGION = env.text("S3_REGION")
S3_ADDRESSING_STYLE = env.choice("S3_ADDRESSING_STYLE", "auto", ("auto", "path", "virtual"))
S3_ENCRYPTION = env.choice("S3_ENCRYPTION", "", ("", "AES256", "aws:kms", "aws:kms:dsse"))
S3_KMS_KEY_ID = env.text("S3_KMS_KEY_ID")
S3_REDIRECT_DOWNLOADS = env.flag("S3_REDIRECT_DOWNLOADS", default=False)
if STORAGE == "s3":
    _encryption = {"ServerSideEncryption": S3_ENCRYPTION, "SSEKMSKeyId": S3_KMS_KEY_ID}
    STORAGES["default"] = {
        "BACKEND": "apps.files.bucket.Bucket",
        "OPTIONS": {
            "bucket_name": S3_BUCKET,
            "location": S3_PREFIX,
            "endpoint_url": S3_ENDPOINT_URL or None,
            "region_name": S3_REGION or None,
            "addressing_style": S3_ADDRESSING_STYLE,
            "object_parameters": {
                "ContentType": "application/jsonl",
                **{name: value for name, value in _encryption.items() if value},
            },
        },
    }
# On a local storage's own file system, so that storing a received file is a rename.
SPOOL_DIR = STORAGE_DIR / "tmp"
FILE_UPLOAD_HANDLERS = ["apps.files.upload_handlers.SpoolUploadHandler"]
FILE_UPLOAD_PERMISSIONS = 0o640

# --- The API ----------------------------------------------------------------------------------------------------------
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.projects.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated",
        "apps.projects.permissions.HasScope",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "apps.api.negotiation.JsonOnly",
    "DEFAULT_THROTTLE_CLASSES": ["apps.projects.throttling.RequestsPerMinute"],
    "EXCEPTION_HANDLER": "apps.api.exception_handler.envelope",
    "UNAUTHENTICATED_USER": None,
    # ASCII escapes keep any string answerable, lone surrogates included.
    "UNICODE_JSON": False,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "ZeroBatch",
    "DESCRIPTION": "Files and batches of chat requests, in the dialect of OpenAI's SDKs.",
    "VERSION": "1",  # of the API: the one in its paths
    "OAS_VERSION": "3.1.1",
    "SERVERS": [{"url": "/"}],
    "DEFAULT_GENERATOR_CLASS": "apps.reference.schema.Generator",
    "SORT_OPERATIONS": False,
    "PREPROCESSING_HOOKS": ["apps.reference.schema.only_the_api"],
    "POSTPROCESSING_HOOKS": ["apps.reference.schema.complete"],
}

# --- Limits (wire.md §3) ----------------------------------------------------------------------------------------------
MAX_BATCH_LINES = env.number("MAX_BATCH_LINES", 50_000, least=1)
MAX_BATCH_BYTES = env.number("MAX_BATCH_BYTES", 209_715_200, least=1)
MAX_LINE_BYTES = env.number("MAX_LINE_BYTES", 1_048_576, least=1)
MAX_UPLOAD_BYTES = env.number("MAX_UPLOAD_BYTES", 104_857_600, least=1)
MAX_PART_BYTES = env.number("MAX_PART_BYTES", 67_108_864, least=1)
COMPLETION_WINDOW_SECONDS = 24 * 60 * 60  # "24h", the only window there is
MAX_WEBHOOK_ENDPOINTS = env.number("MAX_WEBHOOK_ENDPOINTS", 20, least=1)
FILE_RETENTION_DAYS = env.number("FILE_RETENTION_DAYS", 30, least=1)
ALLOWED_ENDPOINTS = env.words("ALLOWED_ENDPOINTS", "/v1/chat/completions")

# --- What each project may have, unless its row says otherwise (wire.md §10) ------------------------------------------
PROJECT_LIMITS = {
    "requests_per_minute": env.limit("PROJECT_MAX_REQUESTS_PER_MINUTE"),
    "enqueued_lines": env.limit("PROJECT_MAX_ENQUEUED_LINES"),
    "batches_in_progress": env.limit("PROJECT_MAX_BATCHES_IN_PROGRESS"),
    "stored_bytes": env.limit("PROJECT_MAX_STORED_BYTES"),
    "tokens": env.limit("PROJECT_MAX_TOKENS"),
    "tokens_this_month": env.limit("PROJECT_MAX_TOKENS_THIS_MONTH"),
}

# --- The pipeline (architecture.md §2–3) ------------------------------------------------------------------------------
CHUNK_BYTES = env.number("CHUNK_BYTES", 4_000_000, least=1)
PREFIX_ORDER = env.flag("PREFIX_ORDER", default=False)
LEASE_SECONDS = env.number("LEASE_SECONDS", 30, least=5)
HEARTBEAT_SECONDS = 2
DRAIN_SECONDS = env.number("DRAIN_SECONDS", 60, least=0)

# --- The upstream while there are no rows (architecture.md §4) --------------------------------------------------------
INFERENCE_BASE_URL = env.url("INFERENCE_BASE_URL", "http://127.0.0.1:8080/v1", ("http", "https"))
INFERENCE_API_KEY = env.text("INFERENCE_API_KEY")
INFERENCE_MAX_IN_FLIGHT = env.number("INFERENCE_MAX_IN_FLIGHT", 128, least=1)
INFERENCE_CONNECT_TIMEOUT = env.number("INFERENCE_CONNECT_TIMEOUT", 10, least=1)
INFERENCE_READ_TIMEOUT = env.number("INFERENCE_READ_TIMEOUT", 600, least=1)
INFERENCE_TRANSPORT = env.choice("INFERENCE_TRANSPORT", "curl", ("curl", "aiohttp"))
INFERENCE_MAX_ATTEMPTS = env.number("INFERENCE_MAX_ATTEMPTS", 4, least=1)

# --- Webhooks (wire.md §9) --------------------------------------------------------------------------------------------
WEBHOOK_ALLOWED_NETWORKS = env.networks("WEBHOOK_ALLOWED_NETWORKS")
WEBHOOK_RETENTION_DAYS = env.number("WEBHOOK_RETENTION_DAYS", 30, least=1)

# --- Celery -----------------------------------------------------------------------------------------------------------
REDIS_URL = env.url("REDIS_URL", "redis://127.0.0.1:6379/0", ("redis", "rediss"))
CHUNK_QUEUES = 8
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT = "zerobatch.broker:Transport"
CELERY_RESULT_BACKEND = f"zerobatch.results:Backend+{REDIS_URL}"
# The thread of a chunk that is done has better things to do than to wait for Redis.
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"retry_policy": {"max_retries": 1, "interval_start": 0}}
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 2
CELERY_REDIS_SOCKET_TIMEOUT = 5
CELERY_RESULT_EXPIRES = COMPLETION_WINDOW_SECONDS + 2 * 60 * 60
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Above the longest chunk, which may wait for its upstream until the deadline: a running chunk is never redelivered.
    "visibility_timeout": COMPLETION_WINDOW_SECONDS + 2 * 60 * 60,
    "queue_order_strategy": "round_robin",
    # A publish is a hint: a web request soon gives up on a broker that is away or hangs.
    "socket_connect_timeout": 2,
    "socket_timeout": 5,
    # A consumer whose Redis fell silent connects anew after at most twice this, and a second.
    "health_check_interval": 10,
    "max_retries": 1,
    "interval_start": 0,
}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_DEFAULT_QUEUE = "control"
CELERY_TASK_ROUTES = ["zerobatch.routes.route"]
CELERY_TASK_PUBLISH_RETRY = (
    False  # the resume sweep repeats what was not sent; a web request must not wait for a broker
)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BEAT_SCHEDULE = schedule.BEAT_SCHEDULE
CELERY_TIMEZONE = "UTC"

# --- Metrics and traces -----------------------------------------------------------------------------------------------
METRICS_TOKEN = env.text("METRICS_TOKEN")
METRICS_HOST = env.text("METRICS_HOST", "127.0.0.1")
METRICS_PORT = env.number("METRICS_PORT", 0)
OTEL_EXPORTER_OTLP_ENDPOINT = env.url("OTEL_EXPORTER_OTLP_ENDPOINT", "", ("http", "https"))

# --- Flower -----------------------------------------------------------------------------------------------------------
FLOWER_HOST = env.text("FLOWER_HOST", "127.0.0.1")
FLOWER_PORT = env.number("FLOWER_PORT", 5555, least=1)
FLOWER_USER = env.text("FLOWER_USER", "operator")
FLOWER_PASSWORD = env.text("FLOWER_PASSWORD")

# --- Drills -----------------------------------------------------------------------------------------------------------
FAILPOINTS_DIR = env.text("FAILPOINTS_DIR")  # refused outside DEBUG by the check zerobatch.E002

# --- Logs -------------------------------------------------------------------------------------------------------------
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
LOG_FORMAT = env.choice("LOG_FORMAT", "json", ("json", "console"))
LOGGING = logging_config(level=LOG_LEVEL, style=LOG_FORMAT)
