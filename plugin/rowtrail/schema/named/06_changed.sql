-- runs compared
-- :before and :after are run ids; without them, the newest run and the one before it
WITH later AS (
    SELECT run_id, started_at FROM runs WHERE :after IS NULL OR run_id = :after
    ORDER BY started_at DESC, run_id DESC LIMIT 1
), chosen AS (
    SELECT l.run_id AS after_run, coalesce(:before, (
               SELECT r.run_id FROM runs AS r WHERE r.run_id <> l.run_id AND r.started_at <= l.started_at
               ORDER BY r.started_at DESC, r.run_id DESC LIMIT 1)) AS before_run
    FROM later AS l
), made AS (
    SELECT s.run_id = c.after_run AS is_after,
           s.kind, s.name, s.scope, s.step_id, s.status, s.fingerprint,
           row_number() OVER (PARTITION BY s.run_id, s.scope, s.kind, s.name ORDER BY s.seq) AS n,
           substr(CASE s.kind WHEN 'llm' THEN coalesce(json_extract(s.input, '$.messages[#-1].content'), s.input)
                              ELSE s.input END, 1, 300) AS asked,
           substr(coalesce(s.error, CASE
               WHEN json_valid(s.output) AND json_type(s.output, '$.content') IS NOT NULL
               THEN json_extract(s.output, '$.content') || coalesce((
                    SELECT ' ' || group_concat(json_extract(c.value, '$.name') || json_extract(c.value, '$.args'))
                    FROM json_each(s.output, '$.tool_calls') AS c), '')
               ELSE s.output END), 1, 300) AS answered
    FROM chosen AS c JOIN steps AS s ON s.run_id IN (c.before_run, c.after_run)
    WHERE s.status <> 'superseded' AND c.before_run <> c.after_run
), pair AS (
    SELECT scope, kind, name, n, count(*) AS sides, max(is_after) AS in_after,
           count(DISTINCT fingerprint) AS requests, count(DISTINCT status) AS ends,
           count(DISTINCT answered) AS answers,
           max(CASE is_after WHEN 0 THEN step_id END) AS before_step,
           max(CASE is_after WHEN 1 THEN step_id END) AS after_step,
           max(CASE is_after WHEN 0 THEN asked END) AS before_asked,
           max(CASE is_after WHEN 1 THEN asked END) AS after_asked,
           max(CASE is_after WHEN 0 THEN answered END) AS before_answered,
           max(CASE is_after WHEN 1 THEN answered END) AS after_answered
    FROM made
    GROUP BY scope, kind, name, n
)
SELECT CASE WHEN sides = 1 AND in_after THEN 'only after' WHEN sides = 1 THEN 'only before'
            WHEN requests > 1 THEN 'other request' WHEN ends > 1 THEN 'other status'
            ELSE 'other answer' END AS change,
       scope, kind, name, before_step, after_step,
       CASE WHEN requests > 1 OR sides = 1 THEN before_asked ELSE before_answered END AS before,
       CASE WHEN requests > 1 OR sides = 1 THEN after_asked ELSE after_answered END AS after
FROM pair
WHERE sides = 1 OR requests > 1 OR ends > 1 OR answers > 1
ORDER BY CAST(coalesce(after_step, before_step) AS INTEGER)
LIMIT 100
