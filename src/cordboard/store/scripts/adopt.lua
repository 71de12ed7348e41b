-- adopt: restore a running session that Redis has lost, from its holder.
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id, epoch, room, attempt, deadline_s
--   launch     the launch as JSON text
--   holder     runner_id, runner_url, type ('warm' or 'cold'), pid, build (JSON; may be absent)
--   counted    names of the limit sets, separated by spaces
--   record     further fields of the record
--
-- Returns 'held' | 'lost': the room has been granted to another session meanwhile.
local sid, epoch, room, holder = args.session_id, args.epoch, args.room, args.holder
write_even_when_full()
local rec = read(sid)
if rec then
  return tonumber(rec.epoch) == epoch and rec.runner_id == holder.runner_id
    and rec.state == 'running' and 'held' or 'lost'
end
if redis.call('EXISTS', K.room_active .. room) == 1 then return 'lost' end
local granted = tonumber(redis.call('GET', epoch_key(room)) or '0')
if granted > epoch then return 'lost' end
local now = now_ms()
redis.call('SET', epoch_key(room), epoch, 'PX', T.epoch_kept_ms)
rec = { session_id = sid, room_url = room }
local fields = {
  session_id = sid, room_url = room, state = 'starting', epoch = epoch, attempt = args.attempt,
  refusals = 0, launch = args.launch, deadline_s = args.deadline_s, deadline_ms = now,
  created_ms = now,
}
if args.counted ~= '' then fields.counted = args.counted end
for name, value in pairs(args.record) do fields[name] = value end
set(rec, fields)
redis.call('ZADD', K.live, now, sid)
count(sid, args.counted)
index(rec, now)
if holder.type == 'warm' then redis.call('SADD', K.runner_sessions .. holder.runner_id, sid) end
run(rec, holder, 0, now)
return 'held'
