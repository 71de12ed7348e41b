-- running: confirms that the bot's process holds the room; only then may it enter bot().
-- KEYS[1] the session's record.
-- ARGV session id, epoch, runner id, runner url, 'warm' or 'cold', pid, job name or ''.
-- Returns {'ok'} | {'stale', the room's epoch} | {'state', the session's state}.
local sid, epoch, runner, url, kind, pid = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local now = now_ms()
local rec = read(sid)
if not rec then return { 'state', 'absent' } end
if rec.epoch ~= epoch then return { 'stale', rec.epoch } end
if rec.state == 'running' and rec.runner_id == runner and rec.pid == pid then return { 'ok' } end
if rec.state ~= 'starting' then return { 'state', rec.state } end
if rec.runner_id and rec.runner_id ~= runner then return { 'state', 'assigned elsewhere' } end

set(rec, { state = 'running', runner_id = runner, runner_url = url, type = kind, pid = pid,
  at_running = now })
redis.call('ZREM', K.deadlines, sid)
redis.call('ZADD', K.leases, now + T.lease_ms, sid)
drop_entry(rec)
write_room(rec, now)
write_keepalive(rec, 0, now)
publish(rec, now)
return { 'ok' }
