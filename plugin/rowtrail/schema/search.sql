-- The search index: a file of its own beside the journal, derived from it, safe to delete. It holds no
-- text: what is shown of a hit is read from the journal.
-- Ids of runs, steps, logs are those of the journal's rows; times are milliseconds since 1970 UTC.
-- A question stands among the steps, with the number of its row below zero.

-- journal_id, generation, after and after_at (the newest step that was seen, and when it began),
-- gaps (ranges of steps up to it that are still to be read, the newest first, as JSON),
-- filled_at (when a background process read its last page), merged (`after` when the words were merged),
-- asked (the newest question that was read), next_doc (the number of the next text),
-- dims and probe (of the embedder), embedded (the last doc up to which every one has its vector).
CREATE TABLE state (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Every part of a text, once, however many messages, arguments, results and errors are equal to it.
CREATE TABLE doc (
    digest INTEGER PRIMARY KEY,
    id     INTEGER NOT NULL
) STRICT;
-- rowid: doc.id. Bodies are folded before they come here (`history/_folding.py`), so the tokenizer only
-- separates and stems; symbols beyond ASCII are words.
CREATE VIRTUAL TABLE text USING fts5(body, content = '', contentless_delete = 1, tokenize = @tokenizer);
-- Quantised to 8 bits: a quarter of the bytes to read, 98.7 % of the ten nearest (random vectors).
-- A vector of zeros has no direction and no row.
CREATE TABLE vector (
    doc   INTEGER PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- Runs that have steps here, and the newest of these.
CREATE TABLE run (
    id           INTEGER PRIMARY KEY,
    started_at   INTEGER NOT NULL,
    last_step    INTEGER NOT NULL,
    last_step_at INTEGER NOT NULL
) STRICT;
CREATE TABLE step (
    id   INTEGER PRIMARY KEY,
    run  INTEGER NOT NULL,
    kind INTEGER NOT NULL,   -- its place in llm, tool, function, question
    at   INTEGER NOT NULL
) STRICT;
-- Steps that may still change, how they looked, and the texts that they said, as JSON.
CREATE TABLE open_step (
    step INTEGER PRIMARY KEY,
    mark TEXT NOT NULL,
    docs TEXT NOT NULL
) STRICT;

-- Where a text is said by a step. No index by step, which would cost a twentieth of the journal: steps
-- that are read again have their texts in open_step, and what deletes runs reads all of it once.
CREATE TABLE spot (
    doc   INTEGER NOT NULL,
    step  INTEGER NOT NULL,
    place INTEGER NOT NULL,   -- its place in arguments, result, error, message, question, answer
    PRIMARY KEY (doc, step, place)
) STRICT, WITHOUT ROWID;

-- Where a text is a message of prompts: at a position of a log of the journal. A prompt is a range of
-- positions, and only what is new to its run is noted: a long conversation takes a row for each call,
-- not one for each message of each call. doc 0: a message without text.
CREATE TABLE log_doc (
    log INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    doc INTEGER NOT NULL,
    PRIMARY KEY (log, pos, doc)
) STRICT, WITHOUT ROWID;
CREATE INDEX log_doc_doc ON log_doc (doc) WHERE doc <> 0;
-- A position of a log belongs to the first step of a run that was sent it.
CREATE TABLE span (
    run  INTEGER NOT NULL,
    log  INTEGER NOT NULL,
    lo   INTEGER NOT NULL,
    hi   INTEGER NOT NULL,   -- the first position behind it
    step INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    PRIMARY KEY (run, log, lo)
) STRICT, WITHOUT ROWID;
CREATE INDEX span_log ON span (log, lo, hi);
