-- renew: prolongs one lease.
-- KEYS[1] the session's record.
-- ARGV session id, epoch, lag of the bot's event loop (ms).
-- Returns 'held' | 'stop' (held, and someone asked to end it) | 'lost' (another's, or ended)
--      | 'unknown' (Redis knows nothing of it: it may have lost its memory).
local sid, epoch, lag = ARGV[1], ARGV[2], tonumber(ARGV[3])
local rec = read(sid)
if not rec then return 'unknown' end
if rec.epoch ~= epoch or not (rec.state == 'running' or rec.state == 'starting') then
  return 'lost'
end
local now = now_ms()
redis.call('ZADD', K.leases, now + T.lease_ms, sid)
write_keepalive(rec, lag, now)
return rec.stop and 'stop' or 'held'
