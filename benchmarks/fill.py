"""Rows as a busy installation has them: most batches ended within the hour, so that their chunks are still there."""

from typing import NamedTuple

import psycopg

CHUNKS = 20
"""Of each batch."""
TENANTS = 20
"""The first has half of all batches."""


AT_ONCE = 50_000
"""Batches whose chunks are written in one statement: a sort of all of them would need more disk than they do."""


class Size(NamedTuple):
    """How many batches of each sort there are, and in how many minutes those that ended did so."""

    ended: int
    unfinished: int
    minutes: int = 63

    @property
    def batches(self) -> int:
        return self.ended + self.unfinished

    def __str__(self) -> str:
        return f"{self.batches:,} batches, {self.batches * CHUNKS:,} chunks"


LARGE = Size(ended=99_000, unfinished=1_000)
SMALL = Size(ended=100, unfinished=50)


def fill(url: str, size: Size) -> str:
    """Fill the migrated database behind `url`; the id of its first project, which has half of all."""
    with psycopg.connect(url, autocommit=True) as connection:
        # Without the checks of foreign keys, a million a minute: the rows are made to match.
        connection.execute("SET session_replication_role = replica")
        cursor = psycopg.ClientCursor(connection)
        facts = {**size._asdict(), "chunks": CHUNKS, "tenants": TENANTS}
        for statement in (TENANT_ROWS, PLAN, FILE_ROWS, BATCH_ROWS, WORKER_ROWS, USAGE_ROWS):
            cursor.execute(statement, facts)
        for first in range(1, size.batches + 1, AT_ONCE):
            cursor.execute(CHUNK_ROWS, {**facts, "first": first, "last": first + AT_ONCE - 1})
        connection.execute("VACUUM ANALYZE")
        row = cursor.execute("SELECT project_id FROM tenant WHERE number = 0").fetchone()
    if row is None:
        raise LookupError("no project")
    return str(row[0])


TENANT_ROWS = """
CREATE TEMP TABLE tenant AS
SELECT number, md5('project' || number)::uuid AS project_id, number + 1000 AS api_key_id
  FROM generate_series(0, %(tenants)s - 1) AS number;

INSERT INTO projects_project (id, name, enabled, created_at)
SELECT project_id, 'tenant ' || number, true, now() FROM tenant;

INSERT INTO projects_apikey (id, project_id, name, prefix, secret_hash, created_at)
SELECT api_key_id, project_id, '', lpad(number::text, 12, '0'), md5(number::text), now() FROM tenant;
"""

# Of the unfinished, by their number: one of 50 is cancelling, one is being assembled, one is overdue, and a tenth has
# chunks that run; one of a hundred has a chunk whose worker died. The others wait. A twentieth of the ended is due for
# the next purge. Leases of live workers hold for as long as anybody looks.
PLAN = """
CREATE TEMP TABLE plan AS
SELECT n, tenant.project_id, tenant.api_key_id, m,
       'batch_' || substr(md5('batch' || n), 1, 24) AS id,
       'file-' || substr(md5('input' || n), 1, 24) AS input_id,
       'file-' || substr(md5('output' || n), 1, 24) AS output_id,
       'file-' || substr(md5('error' || n), 1, 24) AS error_id,
       CASE WHEN m <= 0 AND n %% 50 = 0 THEN 'cancelled'
            WHEN m <= 0 THEN 'completed'
            WHEN m %% 50 = 0 THEN 'cancelling'
            WHEN m %% 50 = 1 THEN 'finalizing'
            ELSE 'in_progress' END AS status,
       m %% 50 = 2 AND m > 0 AS is_overdue,
       m %% 10 = 3 AND m > 0 AS has_running,
       m %% 100 = 13 AND m > 0 AS has_lost,
       CASE WHEN m <= 0 THEN now() - interval '30 minutes' + m * ((%(minutes)s + 3) * interval '1 minute' / %(ended)s)
            WHEN m %% 50 = 2 THEN now() - interval '24 hours 10 seconds'
            ELSE now() - interval '1 minute' - (%(unfinished)s - m) * interval '20 minutes' / %(unfinished)s
       END AS created_at,
       now() + (m - 1) * (%(minutes)s * interval '1 minute' / %(ended)s) AS ended_at
  FROM (SELECT n, n - %(ended)s AS m FROM generate_series(1, %(ended)s + %(unfinished)s) AS n) AS numbered
       JOIN tenant ON tenant.number = CASE WHEN n / 10 %% 2 = 0 THEN 0 ELSE 1 + n %% (%(tenants)s - 1) END;
"""

FILE_ROWS = """
INSERT INTO files_file (id, project_id, filename, purpose, is_error, bytes, object_key, created_at, expires_at,
                        deleted_at, object_removed_at, readers)
SELECT input_id, project_id, 'requests.jsonl', 'batch', false, 10000000, 'files/' || input_id || '.jsonl',
       created_at - interval '1 minute', created_at + interval '30 days',
       CASE WHEN m <= 0 AND n %% 20 = 0 THEN ended_at END,
       CASE WHEN m <= 0 AND n %% 20 = 0 AND n %% 400 > 0 THEN ended_at END, (m > 0)::int
  FROM plan
 ORDER BY n;

INSERT INTO files_file (id, project_id, filename, purpose, is_error, bytes, object_key, created_at, expires_at, readers)
SELECT output_id, project_id, id || '_output.jsonl', 'batch_output', false, 12000000,
       'batches/' || id || '/output.jsonl', ended_at, ended_at + interval '30 days', 0
  FROM plan
 WHERE m <= 0
 UNION ALL
SELECT error_id, project_id, id || '_error.jsonl', 'batch_output', true, 100000, 'batches/' || id || '/error.jsonl',
       ended_at, ended_at + interval '30 days', 0
  FROM plan
 WHERE m <= 0 AND n %% 10 = 0;
"""

BATCH_ROWS = """
INSERT INTO batches_batch (id, project_id, api_key_id, input_file_id, output_file_id, error_file_id, endpoint, model,
                           status, metadata, total, created_at, expires_at, in_progress_at, finalizing_at, completed_at,
                           cancelling_at, cancelled_at, assembling_until, completed, failed, input_tokens,
                           cached_tokens, output_tokens, reasoning_tokens, total_tokens)
SELECT id, project_id, api_key_id, input_id, CASE WHEN m <= 0 THEN output_id END,
       CASE WHEN m <= 0 AND n %% 10 = 0 THEN error_id END, '/v1/chat/completions', 'benchmark', status,
       '{"run": "nightly"}', %(chunks)s * 100, created_at, created_at + interval '24 hours', created_at,
       CASE WHEN status = 'finalizing' THEN now() WHEN status = 'completed' THEN ended_at END,
       CASE WHEN status = 'completed' THEN ended_at END,
       CASE WHEN status = 'cancelling' THEN now() WHEN status = 'cancelled' THEN ended_at END,
       CASE WHEN status = 'cancelled' THEN ended_at END,
       CASE WHEN status = 'finalizing' THEN now() + interval '1 day' END,
       CASE WHEN m <= 0 THEN %(chunks)s * 100 - n %% 10 ELSE 0 END, CASE WHEN m <= 0 THEN n %% 10 ELSE 0 END,
       CASE WHEN m <= 0 THEN 400000 ELSE 0 END, 0, CASE WHEN m <= 0 THEN 200000 ELSE 0 END, 0,
       CASE WHEN m <= 0 THEN 600000 ELSE 0 END
  FROM plan
 ORDER BY n;
"""

CHUNK_ROWS = """
INSERT INTO batches_chunk (batch_id, index, first_line, start, "end", lines, state, epoch, owner, lease_expires_at,
                           enqueued_at, output_bytes, error_bytes, halted, waiting, error, completed, failed,
                           input_tokens, cached_tokens, output_tokens, reasoning_tokens, total_tokens)
SELECT id, index, index * 100 + 1, index * 500000, (index + 1) * 500000, 100, state, (state <> 'pending')::int,
       CASE WHEN state = 'running' THEN md5(n::text) ELSE '' END,
       CASE WHEN state <> 'running' THEN NULL WHEN has_lost AND index = 11 THEN now() - interval '1 minute'
            ELSE now() + interval '1 day' END,
       greatest(created_at, now() - interval '5 minutes'), (state = 'done')::int * 600000, 0, '', '', '',
       CASE state WHEN 'done' THEN 100 WHEN 'running' THEN 40 ELSE 0 END, 0, (state = 'done')::int * 20000, 0,
       (state = 'done')::int * 10000, 0, (state = 'done')::int * 30000
  FROM (SELECT plan.*, index,
               CASE WHEN m <= 0 OR status = 'finalizing' THEN 'done'
                    WHEN NOT has_running THEN 'pending'
                    WHEN index < %(chunks)s / 2 THEN 'done'
                    WHEN index < %(chunks)s / 2 + 2 THEN 'running'
                    ELSE 'pending' END AS state
          FROM plan, generate_series(0, %(chunks)s - 1) AS index
         WHERE n BETWEEN %(first)s AND %(last)s
         ORDER BY n, index) AS chunk;
"""

# What three models' answers cost on each of the last 90 days.
USAGE_ROWS = """
INSERT INTO batches_dailyusage (project_id, day, model, requests, input_tokens, cached_tokens, output_tokens,
                                reasoning_tokens, total_tokens)
SELECT project_id, current_date - day, 'model-' || model, 100000, 20000000, 0, 10000000, 0, 30000000
  FROM tenant, generate_series(0, 89) AS day, generate_series(1, 3) AS model;
"""

WORKER_ROWS = """
INSERT INTO batches_worker (id, name, started_at, seen_at, report)
SELECT 'worker_' || substr(md5(n::text), 1, 24), 'worker-' || n || '@host', now(), now() + interval '1 day', '{}'
  FROM generate_series(1, 12) AS n;
"""
