-- accept: decides one join (contract, section 4, the table).
-- KEYS[1] the session's record.
-- ARGV session id, room, launch (JSON), deadline (s), queue bound, token of this call,
--      id and url of the runner that starts it itself (else both ''),
--      the claim of the session id ('' where one shard is all, '?' when it is yet to be claimed),
--      '1' when this call has made the claim, an epoch that the new one must exceed,
--      where the session counts (JSON: lists of a set's name, the most live sessions that may be
--      in it or 0, and how many are in other shards), then pairs of further record fields.
-- Returns {'new', epoch, created_ms}
--      | {'reused', holder's session id, its state, its epoch, created_ms, '1' when it is stopping,
--         '1' when the claim is void}
--      | {'in_use', its room} | {'used'} when the id has been another user's
--      | {'full', entries waiting, '1' when the claim is void}
--      | {'too_many', user, tenant or address, the most, '1' when the claim is void}
--      | {'claim'} when a claim is needed | {'retired'} when the claim has been taken away.
local sid, room, launch, deadline_s, queue_max, token, runner, runner_url =
  ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
local claim, fresh, floor = ARGV[9] or '', ARGV[10] == '1', tonumber(ARGV[11] or '0')
local counts = cjson.decode(ARGV[12])
local now = now_ms()
local old = read(sid)
local further = {}
for i = 13, #ARGV, 2 do further[ARGV[i]] = ARGV[i + 1] end

-- Sent twice: the same answer, even where the session has run and ended meanwhile.
if old and old.join_token == token then
  return { 'new', tonumber(old.epoch), tonumber(old.created_ms) }
end
-- What is refused leaves no claim behind: void from here on, so that the caller may take it away.
local function void()
  if not fresh or old then return '' end
  redis.call('SET', K.retired_claim .. claim, '1', 'PX', T.late_ms)
  return '1'
end
local active = redis.call('GET', K.room_active .. room)
local holder = active and read(cjson.decode(active).session_id)
if holder and LIVE[holder.state] then
  return { 'reused', holder.session_id, holder.state, tonumber(holder.epoch),
    tonumber(holder.created_ms), holder.stop and '1' or '', void() }
end
if old and LIVE[old.state] then return { 'in_use', old.room_url } end
if old and not is_owned_by(old, further.user_id or '', further.tenant_id or '') then
  return { 'used' }
end
local names = {}
for i, counted in ipairs(counts) do
  local name, most, elsewhere = counted[1], counted[2], counted[3]
  if most > 0 and count_live(name, most - elsewhere) + elsewhere >= most then
    return { 'too_many', name:match('^%a+'), most, void() }
  end
  names[i] = name
end
local waiting = redis.call('XLEN', K.launches)
if waiting >= queue_max then return { 'full', waiting, void() } end

if claim == '?' then return { 'claim' } end
if claim ~= '' and redis.call('EXISTS', K.retired_claim .. claim) == 1 then return { 'retired' } end

local epoch = raise_epoch(room, math.max(floor, old and tonumber(old.epoch) or 0))
if old then remove(old) end
local rec = { session_id = sid, room_url = room }
local fields = {
  session_id = sid, room_url = room, state = 'queued', epoch = epoch, attempt = 1, refusals = 0,
  launch = launch, deadline_s = deadline_s, deadline_ms = now + deadline_s * 1000,
  created_ms = now, at_queued = now, join_token = token,
}
for name, value in pairs(further) do fields[name] = value end
if #names > 0 then fields.counted = table.concat(names, ' ') end
if runner == '' then
  enqueue(sid, fields, launch)
else
  fields.state, fields.type, fields.at_starting = 'starting', 'warm', now
  fields.runner_id, fields.runner_url = runner, runner_url
  redis.call('SADD', K.runner_sessions .. runner, sid)
  redis.call('ZADD', K.leases, now + T.lease_ms, sid)
end
set(rec, fields)
write_room(rec, now)
redis.call('ZADD', K.deadlines, rec.deadline_ms, sid)
redis.call('ZADD', K.live, now, sid)
count(sid, rec.counted or '')
index(rec, now)
publish(rec, now)
return { 'new', epoch, now }
