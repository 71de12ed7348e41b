-- adopt: a holder tells a Redis that has lost its memory of the session that its bot lives.
-- KEYS[1] the session's record.
-- ARGV session id, epoch, room, launch (JSON), attempt, deadline (s), runner id, runner url,
--      'warm' or 'cold', pid, names of the sets in which it counts, then pairs of further record fields.
-- Returns 'held' | 'lost' (the room was granted to another meanwhile).
local sid, epoch, room = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local runner, url, kind, pid = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
write_even_when_full()
local rec = read(sid)
if rec then
  return rec.epoch == ARGV[2] and rec.runner_id == runner and rec.state == 'running'
    and 'held' or 'lost'
end
if redis.call('EXISTS', K.room_active .. room) == 1 then return 'lost' end
local granted = tonumber(redis.call('GET', epoch_key(room)) or '0')
if granted > epoch then return 'lost' end
local now = now_ms()
redis.call('SET', epoch_key(room), epoch, 'PX', T.epoch_kept_ms)
rec = { session_id = sid, room_url = room }
local fields = {
  session_id = sid, room_url = room, state = 'starting', epoch = epoch, attempt = ARGV[5],
  refusals = 0, launch = ARGV[4], deadline_s = ARGV[6], deadline_ms = now, created_ms = now,
}
if ARGV[11] ~= '' then fields.counted = ARGV[11] end
for i = 12, #ARGV, 2 do fields[ARGV[i]] = ARGV[i + 1] end
set(rec, fields)
redis.call('ZADD', K.live, now, sid)
count(sid, ARGV[11])
index(rec, now)
if kind == 'warm' then redis.call('SADD', K.runner_sessions .. runner, sid) end
run(rec, runner, url, kind, pid, 0, now)
return 'held'
