-- What was spent and saved. Days are whole ones in UTC; a cost that nobody knows is NULL.
-- `page` is the name of a group as a text; it is not shown.

-- name: @made
-- As `spend` counts them: the calls of each run that ended with an answer.
made AS (
    SELECT sc.run, count(*) AS calls FROM scope sc JOIN step s ON s.scope = sc.id
    WHERE s.kind = 'llm' AND s.duration_us IS NOT NULL AND s.status IN ('done', 'superseded') GROUP BY sc.run)

-- name: @the_next
-- The dearest groups `g` first (an unknown cost is the least), of equal ones those with more tokens; with :is_next 1
-- those behind a group of :cost, :tokens and :name.
WHERE :is_next = 0 OR coalesce(g.cost_usd, -1.0) < :cost OR (coalesce(g.cost_usd, -1.0) = :cost AND (
    g.input_tokens + g.output_tokens < :tokens OR (g.input_tokens + g.output_tokens = :tokens AND g.page > :name)))
ORDER BY g.cost_usd DESC NULLS LAST, g.input_tokens + g.output_tokens DESC, g.page LIMIT :limit

-- name: spend_by_model
SELECT g.* FROM (
    SELECT model, model AS page, sum(calls) AS calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
           sum(cost_usd) AS cost_usd, sum(saved_tokens) AS saved_tokens, sum(saved_usd) AS saved_usd
    FROM spend WHERE :day IS NULL OR day >= :day
    GROUP BY model) g @the_next;

-- name: spend_by_day
SELECT day, day AS page, sum(calls) AS calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
       sum(cost_usd) AS cost_usd, sum(saved_tokens) AS saved_tokens, sum(saved_usd) AS saved_usd
FROM spend WHERE (:day IS NULL OR day >= :day) AND (:is_next = 0 OR day < :name)
GROUP BY day ORDER BY day DESC LIMIT :limit;

-- name: spend_of_days
SELECT coalesce(sum(calls), 0) AS calls, coalesce(sum(input_tokens), 0) AS input_tokens,
       coalesce(sum(output_tokens), 0) AS output_tokens, sum(cost_usd) AS cost_usd,
       coalesce(sum(saved_tokens), 0) AS saved_tokens, sum(saved_usd) AS saved_usd
FROM spend WHERE :day IS NULL OR day >= :day;

-- name: spend_by_thread
WITH @made
SELECT g.* FROM (
    SELECT t.thread_id AS thread, coalesce(t.thread_id, '') AS page, count(*) AS runs, coalesce(sum(m.calls), 0) AS calls,
           sum(r.input_tokens) AS input_tokens, sum(r.output_tokens) AS output_tokens, sum(r.cost_usd) AS cost_usd,
           sum(r.saved_tokens) AS saved_tokens, sum(r.saved_usd) AS saved_usd
    FROM run r LEFT JOIN thread t ON t.id = r.thread LEFT JOIN made m ON m.run = r.id WHERE :since IS NULL OR r.started_at >= :since
    GROUP BY r.thread) g @the_next;

-- name: @called
-- The LLM calls of agents and nodes, counted as those of models are, and what was replayed of any kind. Agents that
-- are told apart only since they worked at once (`name#2`) are one.
called AS (
    SELECT c.*, CASE WHEN c.base <> c.full_name AND c.base LIKE '_%#' THEN substr(c.base, 1, length(c.base) - 1)
                     ELSE c.full_name END AS agent
    FROM (
        SELECT s.id, sc.run, coalesce(sc.agent, r.agent) AS full_name, rtrim(coalesce(sc.agent, r.agent), '0123456789') AS base,
               sc.node, s.input_tokens, s.output_tokens, s.cost_usd,
               s.kind = 'llm' AND s.duration_us IS NOT NULL AND s.status IN ('done', 'superseded') AS is_made
        FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run
        WHERE (s.kind = 'llm' OR EXISTS (SELECT 1 FROM replay p WHERE p.step = s.id))
          AND (:since IS NULL OR s.started_at >= :since)) c),
kept AS (
    SELECT p.step, sum(p.saved_input_tokens + p.saved_output_tokens) AS tokens, sum(p.saved_usd) AS usd
    FROM replay p JOIN step s ON s.id = p.step
    WHERE :since IS NULL OR s.started_at >= :since GROUP BY p.step)

-- name: @call_sums
count(DISTINCT c.run) AS runs, coalesce(sum(CASE WHEN c.is_made THEN 1 ELSE 0 END), 0) AS calls, coalesce(sum(c.input_tokens), 0) AS input_tokens,
           coalesce(sum(c.output_tokens), 0) AS output_tokens, sum(c.cost_usd) AS cost_usd,
           coalesce(sum(k.tokens), 0) AS saved_tokens, sum(k.usd) AS saved_usd
    FROM called c LEFT JOIN kept k ON k.step = c.id

-- name: spend_by_agent
WITH @called
SELECT g.* FROM (SELECT c.agent, coalesce(c.agent, '') AS page, @call_sums GROUP BY c.agent) g @the_next;

-- name: spend_by_node
WITH @called
SELECT g.* FROM (SELECT c.node, coalesce(c.node, '') AS page, @call_sums GROUP BY c.node) g @the_next;

-- name: spend_of_calls
WITH @called
SELECT @call_sums;

-- name: spend_of_runs
WITH @made
SELECT count(*) AS runs, coalesce(sum(m.calls), 0) AS calls, coalesce(sum(input_tokens), 0) AS input_tokens,
       coalesce(sum(output_tokens), 0) AS output_tokens, sum(cost_usd) AS cost_usd,
       coalesce(sum(saved_tokens), 0) AS saved_tokens, sum(saved_usd) AS saved_usd
FROM run LEFT JOIN made m ON m.run = run.id WHERE :since IS NULL OR started_at >= :since;

-- name: spend_by_tool
-- Tokens and money are those of LLM calls made inside a tool, however deep.
WITH RECURSIVE inside (tool, id) AS (
    SELECT t.id, s.id FROM step s JOIN step t ON t.id = s.parent
    WHERE s.parent IS NOT NULL AND t.kind = 'tool' AND (:since IS NULL OR t.started_at >= :since)
    UNION ALL
    SELECT i.tool, s.id FROM inside i JOIN step s ON s.parent = i.id),
paid AS (
    SELECT t.name, sum(s.input_tokens) AS input_tokens, sum(s.output_tokens) AS output_tokens,
           sum(s.cost_usd) AS cost_usd
    FROM inside i JOIN step s ON s.id = i.id AND s.kind = 'llm' JOIN step t ON t.id = i.tool GROUP BY t.name),
replayed AS (
    SELECT s.name, count(*) AS n, sum(s.duration_us) / 1000.0 AS ms,
           sum(p.saved_input_tokens + p.saved_output_tokens) AS tokens, sum(p.saved_usd) AS usd
    FROM replay p JOIN step s ON s.id = p.step
    WHERE s.kind = 'tool' AND (:since IS NULL OR p.at >= :since) GROUP BY s.name),
made AS (
    SELECT name, count(*) AS calls, sum(CASE status WHEN 'failed' THEN 1 ELSE 0 END) AS failed, sum(duration_us) / 1000.0 AS ms
    FROM step WHERE kind = 'tool' AND (:since IS NULL OR started_at >= :since) GROUP BY name)
SELECT m.name AS tool, m.name AS page, m.calls, m.failed, m.ms AS duration_ms,
       coalesce(d.input_tokens, 0) AS input_tokens,
       coalesce(d.output_tokens, 0) AS output_tokens, d.cost_usd, coalesce(r.n, 0) AS replays,
       coalesce(r.ms, 0) AS saved_ms, coalesce(r.tokens, 0) AS saved_tokens, r.usd AS saved_usd
FROM made m LEFT JOIN paid d ON d.name = m.name LEFT JOIN replayed r ON r.name = m.name
ORDER BY m.ms DESC NULLS LAST, m.name LIMIT :limit;
