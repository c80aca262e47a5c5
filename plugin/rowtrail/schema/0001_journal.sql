-- Schema version 1. Base tables are private: read the views of views.sql instead.
-- Times are milliseconds since 1970-01-01 UTC, durations microseconds, unless a comment says otherwise.
-- What is added before the first release stands last in its table, and takes NULL or has a default: so
-- files of an earlier form are taken over by `ALTER TABLE ADD COLUMN`.
-- A closed list is a chain of OR: `x IN (...)` of more than two builds a b-tree each time that a row is written.

-- Facts about the file: journal_id, hash_key (hex), created_at, generation (grows when rows are deleted).
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT where a row may be deleted while somebody still remembers its id.

-- Every stored value, once: messages, arguments, results, channel values.
CREATE TABLE item (
    id     INTEGER PRIMARY KEY,
    digest BLOB,            -- keyed BLAKE2b-128 of type and bytes; NULL where the bytes are encrypted
    type   TEXT NOT NULL,   -- name of the Python type
    text   TEXT,            -- JSON, what the views show; NULL where the value has no JSON form
    data   BLOB             -- serialised form, where the JSON alone cannot rebuild the value
) STRICT;
CREATE UNIQUE INDEX item_digest ON item (digest) WHERE digest IS NOT NULL;

-- An append-only sequence of items that several versions of one list share.
CREATE TABLE log (
    id    INTEGER PRIMARY KEY,
    newest INTEGER,               -- row of the newest list over it
    owner TEXT NOT NULL UNIQUE   -- thread, namespace and channel, or thread and model
) STRICT;
CREATE TABLE log_item (
    log  INTEGER NOT NULL,
    pos  INTEGER NOT NULL,
    item INTEGER NOT NULL,
    PRIMARY KEY (log, pos)
) STRICT, WITHOUT ROWID;

-- One version of a list: pieces of its log, JSON [[offset in the list, first pos, length], ...].
CREATE TABLE list (
    id     INTEGER PRIMARY KEY,
    log    INTEGER NOT NULL,
    length INTEGER NOT NULL,
    pieces TEXT NOT NULL
) STRICT;

CREATE TABLE thread (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    thread_id  TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

-- Processes that opened the journal for writing; alive is decided by identity, then by heartbeat.
CREATE TABLE process (
    id           INTEGER PRIMARY KEY,
    pid          INTEGER NOT NULL,
    pid_start    TEXT NOT NULL,   -- start time of the process as its system tells it
    boot_id      TEXT NOT NULL,
    pid_space    TEXT NOT NULL,   -- which numbering of processes `pid` belongs to (containers have their own)
    host         TEXT NOT NULL,
    last_seen_at INTEGER NOT NULL
) STRICT;

CREATE TABLE run (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id        TEXT NOT NULL UNIQUE,
    thread        INTEGER REFERENCES thread (id),
    agent         TEXT,
    status        TEXT NOT NULL CHECK (status = 'running' OR status = 'done' OR status = 'failed'
                                       OR status = 'waiting' OR status = 'cancelled' OR status = 'crashed'),
    done_by       INTEGER,       -- the attempt that finished it: what becomes of the others does not count
    nonce         TEXT NOT NULL, -- random: begins the idempotency keys of its steps
    keeps_doubts  INTEGER NOT NULL DEFAULT 0,  -- 1: begun anew beside calls in doubt, by somebody's decision
    started_at    INTEGER NOT NULL,
    ended_at      INTEGER,
    input_digest  BLOB,          -- what was asked, to recognise the same input sent again
    base_step     INTEGER,       -- superstep of the run's input, from which scopes count
    error         TEXT,
    steps         INTEGER NOT NULL DEFAULT 0,
    llm_calls     INTEGER NOT NULL DEFAULT 0,
    tool_calls    INTEGER NOT NULL DEFAULT 0,
    input_tokens  INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    saved_tokens  INTEGER NOT NULL DEFAULT 0,
    cost_usd      REAL,
    saved_usd     REAL
) STRICT;
CREATE INDEX run_thread ON run (thread) WHERE thread IS NOT NULL;

CREATE TABLE attempt (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    run        INTEGER NOT NULL REFERENCES run (id),
    n          INTEGER NOT NULL,
    process    INTEGER NOT NULL REFERENCES process (id),
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    outcome    TEXT CHECK (outcome = 'done' OR outcome = 'failed' OR outcome = 'waiting' OR outcome = 'crashed'
                           OR outcome = 'cancelled'),
    left_open  INTEGER NOT NULL DEFAULT 0,  -- 1: it ended while calls of it went on in its process
    answer     BLOB,   -- digest of the answer to a person's question that it began with
    head       TEXT,   -- id of the checkpoint that it began at
    head_step  INTEGER,   -- the superstep of that
    UNIQUE (run, n)
) STRICT;
CREATE INDEX attempt_open ON attempt (process) WHERE ended_at IS NULL OR left_open = 1;

CREATE TABLE scope (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    run  INTEGER NOT NULL REFERENCES run (id),
    name TEXT NOT NULL,
    node TEXT,
    key  TEXT NOT NULL,   -- BLAKE2b-64 of the name, in hex: part of the idempotency keys of its steps
    finished INTEGER NOT NULL DEFAULT 0,   -- 1: its framework saved what it returned, and does not execute it again
    agent TEXT,           -- who makes the calls; NULL: the agent of the run
    UNIQUE (run, name)
) STRICT;

CREATE TABLE step (
    id                 INTEGER PRIMARY KEY,
    scope              INTEGER NOT NULL REFERENCES scope (id),
    attempt            INTEGER NOT NULL REFERENCES attempt (id),
    parent             INTEGER,
    seq                INTEGER NOT NULL,   -- order within the run, from 1
    kind               TEXT NOT NULL CHECK (kind = 'llm' OR kind = 'tool' OR kind = 'function'),
    name               TEXT NOT NULL,
    status             TEXT NOT NULL CHECK (status = 'running' OR status = 'done' OR status = 'failed'
                                            OR status = 'in_doubt' OR status = 'superseded'),
    reason_code        TEXT,               -- why the call was made and not replayed: one of rowtrail.replay.ReasonCode
    reason             TEXT,               -- the same as a sentence, or why the step was set aside
    aside              TEXT,               -- why it does not stand: one of rowtrail.replay.Aside
    effect             TEXT NOT NULL CHECK (effect = 'read' OR effect = 'idempotent' OR effect = 'write'),
    fingerprint        BLOB NOT NULL,
    n                  INTEGER NOT NULL,   -- which of the equal requests of its scope with this tool_call_id, from 1
    key_n              INTEGER NOT NULL,   -- which of the equal requests of its scope, whatever their tool_call_id
    key_scope          TEXT,               -- scope.key of the scope whose call it makes again, where that is another one
    started_at         INTEGER NOT NULL,
    duration_us        INTEGER,
    arguments          TEXT,               -- a JSON object: what was asked, where that is short; else in `input`
    input              INTEGER,            -- item: arguments, or the parameters of an LLM request
    prompt             INTEGER,            -- list: the messages of an LLM request
    output             INTEGER,            -- item: what the caller got
    seal               BLOB,               -- keyed BLAKE2b-64 of fingerprint, n and output: a damaged row is not replayed
    masked             BLOB,               -- fingerprint with what the journal's `canonical=` masks left out
    object_free        BLOB,               -- fingerprint of a write without the object that it is made on
    error              TEXT,
    failure            TEXT,               -- JSON: class and plain parts of the exception, to raise it again
    ended_seq          INTEGER,            -- how many steps the run had begun when the step failed
    late_output        TEXT,               -- JSON: what the call returned after a person had decided what became of it
    late_error         TEXT,               -- likewise what it raised
    twin               INTEGER,            -- the step of an earlier run that is in doubt, which made this one in doubt
    tool_call_id       TEXT,
    model              TEXT,
    provider           TEXT,
    input_tokens       INTEGER,
    output_tokens      INTEGER,
    cache_read_tokens  INTEGER,
    cache_write_tokens INTEGER,
    reasoning_tokens   INTEGER,
    tokens_source      TEXT CHECK (tokens_source = 'provider' OR tokens_source = 'tiktoken'
                                   OR tokens_source = 'estimate'),
    cost_usd           REAL,
    interrupts         INTEGER NOT NULL DEFAULT 0,   -- answers of people that the call consumed
    asked              INTEGER NOT NULL DEFAULT 0,   -- in which order of its scope a person was asked what became of it; 0: not
    asked_in           INTEGER,            -- the scope whose code asked: another one may stand for the call
    answers            INTEGER NOT NULL DEFAULT 1    -- how many answers of people that question took
) STRICT;
CREATE INDEX step_key ON step (scope, fingerprint, n);
CREATE INDEX step_in_doubt ON step (scope, fingerprint) WHERE status = 'in_doubt';
CREATE INDEX step_object_free ON step (object_free) WHERE object_free IS NOT NULL;
CREATE INDEX step_unstored ON step (scope) WHERE status = 'done' AND output IS NULL AND effect = 'write';
CREATE INDEX step_twin ON step (twin) WHERE twin IS NOT NULL;
CREATE INDEX step_parent ON step (parent) WHERE parent IS NOT NULL;

CREATE TABLE replay (
    id                  INTEGER PRIMARY KEY,
    step                INTEGER NOT NULL REFERENCES step (id),
    attempt             INTEGER NOT NULL REFERENCES attempt (id),
    at                  INTEGER NOT NULL,
    saved_input_tokens  INTEGER,
    saved_output_tokens INTEGER,
    saved_usd           REAL
) STRICT;
CREATE INDEX replay_step ON replay (step);

-- What a person was asked. A step in doubt about which nobody was asked yet has no row.
CREATE TABLE question (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    thread      INTEGER REFERENCES thread (id),
    run         INTEGER REFERENCES run (id),   -- NULL: of a graph whose calls are not recorded
    scope       INTEGER,         -- likewise
    place       TEXT NOT NULL,   -- name of the scope; where calls are not recorded, of the framework's task
    n           INTEGER NOT NULL,              -- which of the questions of its place, from 0
    step        INTEGER,         -- the call that asked, or that is in doubt
    kind        TEXT NOT NULL CHECK (kind = 'interrupt' OR kind = 'in_doubt' OR kind = 'approval'),
    asked_at    INTEGER NOT NULL,
    question    TEXT,            -- JSON; NULL where the saver encrypts
    answered_at INTEGER,
    answer      TEXT             -- likewise
) STRICT;
CREATE INDEX question_run ON question (run, thread);
CREATE INDEX question_step ON question (step) WHERE step IS NOT NULL;

-- Totals by day and model, kept as calls end, so that a report reads no steps.
CREATE TABLE spend_day (
    day           TEXT NOT NULL,   -- UTC, YYYY-MM-DD
    model         TEXT NOT NULL,
    calls         INTEGER NOT NULL DEFAULT 0,
    input_tokens  INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cost_usd      REAL,
    saved_tokens  INTEGER NOT NULL DEFAULT 0,
    saved_usd     REAL,
    PRIMARY KEY (day, model)
) STRICT, WITHOUT ROWID;

-- Names that repeat: channels of graphs, paths of tasks.
CREATE TABLE label (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

-- A row whose body is NULL stands for a checkpoint of which only writes have arrived.
-- The order of ids is the order of arrival: the newest checkpoint has the largest id.
-- An id that is a UUID is 16 bytes, any other is text.
CREATE TABLE checkpoint (
    id            INTEGER PRIMARY KEY,
    thread        INTEGER NOT NULL REFERENCES thread (id),
    ns            TEXT NOT NULL,
    checkpoint_id ANY NOT NULL,
    parent_id     ANY,
    run           INTEGER,           -- the run that was active, where one was
    run_id        TEXT,              -- the run id in the metadata, where there is one
    step          INTEGER,
    source        TEXT,
    created_at    INTEGER NOT NULL,
    body          BLOB,              -- packed: versions and everything else but the channel values
    metadata      TEXT NOT NULL DEFAULT '{}',
    hidden        INTEGER NOT NULL DEFAULT 0,  -- 1: pruned, kept because a delta channel is rebuilt from it
    UNIQUE (thread, ns, checkpoint_id)
) STRICT;
CREATE INDEX checkpoint_newest ON checkpoint (thread, ns, id);
CREATE INDEX checkpoint_run ON checkpoint (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE channel_value (
    checkpoint INTEGER NOT NULL,
    channel    INTEGER NOT NULL REFERENCES label (id),
    item       INTEGER,
    list       INTEGER,   -- 0: a list of the one item
    PRIMARY KEY (checkpoint, channel)
) STRICT, WITHOUT ROWID;

CREATE TABLE pending_write (
    checkpoint INTEGER NOT NULL,
    task_id    ANY NOT NULL,
    idx        INTEGER NOT NULL,
    task_path  INTEGER NOT NULL REFERENCES label (id),
    channel    INTEGER NOT NULL REFERENCES label (id),
    item       INTEGER,
    list       INTEGER,
    PRIMARY KEY (checkpoint, task_id, idx)
) STRICT, WITHOUT ROWID;

-- Items that were stored again while a sweep looked for those that nothing refers to.
CREATE TABLE touched (
    item INTEGER PRIMARY KEY
) STRICT;
