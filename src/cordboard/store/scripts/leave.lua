-- leave: ends a session for its caller. What does not run yet is cancelled here and now; a running
-- bot is marked, and its runner asked (by the gateway at once, else at its next renewal).
-- KEYS[1] the launch queue (for routing only).
-- ARGV session id or '', room or '', '1' to end whoever holds the room, token of this call.
-- Returns {'absent'} | {'not_holder', holder} | {'cancelled', sid, room, epoch}
--      | {'stopping', sid, room, epoch, runner url}.
local sid, room, force, token = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4]
write_even_when_full()
if room ~= '' then
  local active = redis.call('GET', K.room_active .. room)
  if not active then return { 'absent' } end
  local holder = cjson.decode(active).session_id
  if not force and holder ~= sid then return { 'not_holder', holder } end
  sid = holder
end
local rec = read(sid)
if not rec then return { 'absent' } end
if not LIVE[rec.state] then
  if rec.ended_by == token then return { 'cancelled', sid, rec.room_url, tonumber(rec.epoch) } end
  return { 'absent' }
end
if rec.state == 'running' then
  set(rec, { stop = 'left' })
  return { 'stopping', sid, rec.room_url, tonumber(rec.epoch), rec.runner_url or '' }
end
finish(rec, 'cancelled', 'cancelled', '', token, now_ms())
return { 'cancelled', sid, rec.room_url, tonumber(rec.epoch), rec.runner_url or '' }
