-- renew: prolongs one lease.
-- KEYS[1] the session's record.
-- ARGV session id, epoch, lag of the bot's event loop (ms), runner id, runner url, 'warm' or 'cold',
--      pid.
-- Returns 'held' | 'stop' (held, and someone asked to end it) | 'lost' (another's, or ended)
--      | 'unknown' (Redis knows nothing of it: it may have lost its memory).
local sid, epoch, lag, runner, url, kind, pid =
  ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6], ARGV[7]
write_even_when_full()
local rec = read(sid)
if not rec then return 'unknown' end
if rec.epoch ~= epoch or not (rec.state == 'running' or rec.state == 'starting') then
  return 'lost'
end
if rec.runner_id and rec.runner_id ~= runner then return 'lost' end
local now = now_ms()
if rec.state == 'starting' then
  -- It runs, and was confirmed: a failover has lost that, not we.
  run(rec, runner, url, kind, pid, lag, now)
else
  redis.call('ZADD', K.leases, now + T.lease_ms, sid)
  write_keepalive(rec, lag, now)
end
return rec.stop and 'stop' or 'held'
