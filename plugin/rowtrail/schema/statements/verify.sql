-- name: steps_newest
-- With the process that wrote them, and whether it syncs its commits one by one.
SELECT s.id, r.run_id, s.kind, s.name, s.status, s.effect, a.process,
       EXISTS (SELECT 1 FROM meta m WHERE m.key = 'normal/' || a.process) AS is_normal
FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run JOIN attempt a ON a.id = s.attempt
ORDER BY s.id DESC LIMIT :limit;

-- name: normal_processes
SELECT count(*) FROM meta WHERE key >= 'normal/' AND key < 'normal0';
