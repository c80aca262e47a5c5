-- where tokens went
SELECT model, node, count(*) AS calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
       round(100.0 * sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))
             / nullif(sum(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))) OVER (), 0), 1) AS percent,
       sum(cost_usd) AS cost_usd
FROM llm_calls
GROUP BY model, node
ORDER BY percent DESC, calls DESC
LIMIT 50
