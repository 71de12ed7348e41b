-- renew: extend one lease.
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id, epoch
--   lag_ms    lag of the bot's event loop
--   holder    runner_id, runner_url, type ('warm' or 'cold'), pid, build (JSON; may be absent)
--
-- Returns 'held' | 'stop': held, and the caller has asked to end it
--      | 'lost': another session holds the room, or this one has ended
--      | 'unknown': Redis has no such session; it may have lost its data.
local sid, holder = args.session_id, args.holder
write_even_when_full()
local rec = read(sid)
if not rec then return 'unknown' end
if tonumber(rec.epoch) ~= args.epoch or not (rec.state == 'running' or rec.state == 'starting') then
  return 'lost'
end
if rec.runner_id and rec.runner_id ~= holder.runner_id then return 'lost' end
local now = now_ms()
if rec.state == 'starting' then
  -- The session was confirmed as running, and a failover has lost that write.
  run(rec, holder, args.lag_ms, now)
else
  redis.call('ZADD', K.leases, now + T.lease_ms, sid)
  write_keepalive(rec, args.lag_ms, now)
end
return rec.stop and 'stop' or 'held'
