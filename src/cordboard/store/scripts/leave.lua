-- leave: end a session at its caller's request. A session that does not run yet is cancelled here, and one
-- whose bot was lost and is not replaced yet ends here: its caller has left a call. A running session is only
-- marked; its runner learns of it from the gateway, or at its next renewal.
--
-- KEYS[1]  the launch queue (it only selects the node)
-- ARGV[1]  MessagePack map:
--   session_id   may be absent if `room` is present
--   room         may be absent if `session_id` is present
--   force        true: end any holder of the room
--   detail       why, in one sentence; may be absent
--   token        random, the same each time that this call is sent
--
-- Returns {'absent'} | {'not_holder', session id of the holder}
--      | {'cancelled' | 'ended' | 'stopping', session id, room, epoch, runner url or ''}.
local sid, room = args.session_id, args.room
write_even_when_full()
if room then
  local active = redis.call('GET', K.room_active .. room)
  if not active then return { 'absent' } end
  local holder = cjson.decode(active).session_id
  if not args.force and holder ~= sid then return { 'not_holder', holder } end
  sid = holder
end
local rec = sid and read(sid)
if not rec then return { 'absent' } end
local function outcome(name)
  return { name, sid, rec.room_url, tonumber(rec.epoch), rec.runner_url or '' }
end
if not LIVE[rec.state] then
  return rec.ended_by == args.token and outcome(rec.state) or { 'absent' }
end
if rec.state == 'running' then
  set(rec, { stop = 'left', detail = args.detail or false })
  return outcome('stopping')
end
if rec.at_running then
  finish(rec, 'ended', 'left', args.detail, args.token, now_ms())
else
  finish(rec, 'cancelled', 'cancelled', args.detail, args.token, now_ms())
end
return outcome(rec.state)
