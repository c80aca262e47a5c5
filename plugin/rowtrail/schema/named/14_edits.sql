-- edits of states
-- :thread id that was edited; without it, all threads. made_by is what the metadata says of who or why
WITH edit AS (
    SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, created_at, metadata
    FROM checkpoints
    WHERE source = 'update' AND (:thread IS NULL OR thread_id = :thread)
    ORDER BY created_at DESC
    LIMIT 20
), item AS (
    SELECT e.checkpoint_id, s.channel, s.position, s.value, 1 AS is_after,
           CASE WHEN json_valid(s.value) THEN json_extract(s.value, '$.id') END AS id
    FROM edit AS e JOIN state AS s ON s.thread_id = e.thread_id AND s.checkpoint_ns = e.checkpoint_ns
     AND s.checkpoint_id = e.checkpoint_id
    UNION ALL
    SELECT e.checkpoint_id, s.channel, s.position, s.value, 0,
           CASE WHEN json_valid(s.value) THEN json_extract(s.value, '$.id') END
    FROM edit AS e JOIN state AS s ON s.thread_id = e.thread_id AND s.checkpoint_ns = e.checkpoint_ns
     AND s.checkpoint_id = e.parent_checkpoint_id
), pair AS (
    SELECT checkpoint_id, channel, max(position) AS position,
           max(CASE is_after WHEN 0 THEN value END) AS before, max(CASE is_after WHEN 1 THEN value END) AS after
    FROM item
    GROUP BY checkpoint_id, channel, coalesce(id, position)
)
SELECT e.created_at AS at, e.thread_id,
       nullif(json_remove(e.metadata, '$.source', '$.step', '$.parents', '$.writes', '$.run_id'), '{}') AS made_by,
       p.channel, p.position,
       substr(CASE WHEN json_valid(p.before) THEN coalesce(nullif(@text(p.before), ''), p.before)
                   ELSE p.before END, 1, 300) AS before,
       substr(CASE WHEN json_valid(p.after) THEN coalesce(nullif(@text(p.after), ''), p.after)
                   ELSE p.after END, 1, 300) AS after,
       e.checkpoint_id
FROM edit AS e LEFT JOIN pair AS p ON p.checkpoint_id = e.checkpoint_id AND p.before IS NOT p.after
ORDER BY e.created_at DESC, p.channel, p.position
LIMIT 100
