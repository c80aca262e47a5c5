-- What is left of the base tables for a query that may see the rows of one thread, run or agent only. The
-- views of views.sql then stand on these: whatever a query asks, it finds nothing else.
-- @run, @thread and @checkpoint are written out: conditions on a row of that table.

CREATE VIEW run AS SELECT * FROM run WHERE @run;

CREATE VIEW thread AS SELECT * FROM thread WHERE @thread;

CREATE VIEW attempt AS SELECT * FROM attempt WHERE run IN (SELECT id FROM run WHERE @run);

CREATE VIEW scope AS SELECT * FROM scope WHERE run IN (SELECT id FROM run WHERE @run);

CREATE VIEW step AS
SELECT * FROM step WHERE scope IN (
    SELECT id FROM scope WHERE run IN (SELECT id FROM run WHERE @run));

CREATE VIEW replay AS
SELECT * FROM replay WHERE attempt IN (
    SELECT id FROM attempt WHERE run IN (SELECT id FROM run WHERE @run));

CREATE VIEW checkpoint AS SELECT * FROM checkpoint WHERE @checkpoint;

CREATE VIEW channel_value AS
SELECT * FROM channel_value WHERE checkpoint IN (SELECT id FROM checkpoint WHERE @checkpoint);

CREATE VIEW question AS SELECT * FROM question WHERE run IN (SELECT id FROM run WHERE @run);

-- Counted anew: the totals that are kept by day and model know no thread.
CREATE VIEW spend_day AS
WITH RECURSIVE one_call (id) AS (
    SELECT id FROM step WHERE kind = 'llm' AND duration_us IS NOT NULL
       AND status IN ('done', 'superseded')
       AND scope IN (SELECT id FROM scope WHERE run IN (SELECT id FROM run WHERE @run))
), one_saved (at, id) AS (   -- with the calls made inside a step that was replayed
    SELECT at, step FROM replay
    WHERE saved_input_tokens IS NOT NULL
      AND attempt IN (SELECT id FROM attempt WHERE run IN (SELECT id FROM run WHERE @run))
    UNION ALL
    SELECT i.at, s.id FROM one_saved i JOIN step s ON s.parent = i.id
), one_entry (at, step, calls, saved) AS (
    SELECT s.started_at, s.id, 1, 0 FROM one_call c JOIN step s ON s.id = c.id
    UNION ALL
    SELECT i.at, s.id, 0, 1 FROM one_saved i JOIN step s ON s.id = i.id
    WHERE s.kind = 'llm' AND s.status IN ('done', 'superseded')
)
SELECT strftime('%Y-%m-%d', e.at / 1000, 'unixepoch') AS day,
       coalesce(s.model, 'unknown') AS model,
       sum(e.calls) AS calls,
       sum(e.calls * coalesce(s.input_tokens, 0)) AS input_tokens,
       sum(e.calls * coalesce(s.output_tokens, 0)) AS output_tokens,
       sum(CASE e.calls WHEN 1 THEN s.cost_usd END) AS cost_usd,
       sum(e.saved * (coalesce(s.input_tokens, 0) + coalesce(s.output_tokens, 0))) AS saved_tokens,
       sum(CASE e.saved WHEN 1 THEN s.cost_usd END) AS saved_usd
FROM one_entry e JOIN step s ON s.id = e.step
GROUP BY 1, 2;
