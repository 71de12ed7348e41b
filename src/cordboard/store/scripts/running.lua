-- running: confirms that the bot's process holds the room; only then may it enter bot().
-- KEYS[1] the session's record.
-- ARGV session id, epoch, runner id, runner url, 'warm' or 'cold', pid, job name or ''.
-- Returns {'ok'} | {'stale', the room's epoch} | {'state', the session's state}.
local sid, epoch, runner, url, kind, pid = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local now = now_ms()
write_even_when_full()
local rec = read(sid)
if not rec then return { 'state', 'absent' } end
if rec.epoch ~= epoch then return { 'stale', rec.epoch } end
if rec.state == 'running' and rec.runner_id == runner and rec.pid == pid then return { 'ok' } end
if rec.state ~= 'starting' then return { 'state', rec.state } end
if rec.runner_id and rec.runner_id ~= runner then return { 'state', 'assigned elsewhere' } end
if tonumber(rec.deadline_ms) <= now then return { 'state', 'past its deadline' } end
run(rec, runner, url, kind, pid, 0, now)
return { 'ok' }
