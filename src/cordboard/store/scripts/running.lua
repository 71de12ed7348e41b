-- running: confirm that a bot process holds the room. Only then may it call bot().
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id, epoch
--   holder    runner_id, runner_url, type ('warm' or 'cold'), pid, build (JSON; may be absent)
--
-- Returns {'ok'} | {'stale', epoch of the session} | {'state', why it may not run}.
local holder = args.holder
local now = now_ms()
write_even_when_full()
local rec = read(args.session_id)
if not rec then return { 'state', 'absent' } end
if tonumber(rec.epoch) ~= args.epoch then return { 'stale', rec.epoch } end
if rec.state == 'running' and rec.runner_id == holder.runner_id
  and tonumber(rec.pid) == holder.pid then
  return { 'ok' }
end
if rec.state ~= 'starting' then return { 'state', rec.state } end
if rec.runner_id and rec.runner_id ~= holder.runner_id then
  return { 'state', 'assigned elsewhere' }
end
if tonumber(rec.deadline_ms) <= now then return { 'state', 'past its deadline' } end
run(rec, holder, 0, now)
return { 'ok' }
