-- accept: decide one join (docs/contract/http.md, POST /join).
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id, room
--   launch          the launch as JSON text
--   deadline_s      seconds within which the session must run
--   queue_max       maximum length of the launch queue
--   token           random, the same each time that this call is sent
--   runner_id, runner_url   the runner that starts the session itself; absent: queue the launch
--   counts          limit sets: {name, max (0: no limit), live sessions in other shards} each
--   record          further fields of the record
--   Only from a sharded store:
--   claim           the claim of the session id; '?': the id is not claimed yet
--   claim_is_new    this call has made the claim
--   epoch_above     the new epoch must be greater
--
-- Returns {'new', epoch, created_ms}
--      | {'reused', session id, state, epoch, created_ms of the holder, '1' if it is stopping,
--         '1' if the claim is void}
--      | {'in_use', room in which the session id is live}
--      | {'used'}: the session id belonged to another user
--      | {'full', length of the queue, '1' if the claim is void}
--      | {'too_many', 'user' | 'tenant' | 'address', limit, '1' if the claim is void}
--      | {'claim'}: the session id must be claimed first
--      | {'retired'}: another shard has taken the claim away
local sid, room, claim = args.session_id, args.room, args.claim
local now = now_ms()
local old = read(sid)

-- The call was sent again after its answer was lost: repeat the answer, even if the session has run and
-- ended meanwhile.
if old and old.join_token == args.token then
  return { 'new', tonumber(old.epoch), tonumber(old.created_ms) }
end

-- A refused join leaves no claim behind. Void the claim, so that the caller may remove it: a copy of this
-- call that arrives later finds the claim retired.
local function void_claim()
  if not args.claim_is_new or old then return '' end
  redis.call('SET', K.retired_claim .. claim, '1', 'PX', T.late_ms)
  return '1'
end

local active = redis.call('GET', K.room_active .. room)
local holder = active and read(cjson.decode(active).session_id)
if holder and LIVE[holder.state] then
  return { 'reused', holder.session_id, holder.state, tonumber(holder.epoch),
    tonumber(holder.created_ms), holder.stop and '1' or '', void_claim() }
end
if old and LIVE[old.state] then return { 'in_use', old.room_url } end
if old and not is_owned_by(old, args.record.user_id, args.record.tenant_id) then
  return { 'used' }
end
local names = {}
for i, counted in ipairs(args.counts) do
  local name, max, elsewhere = counted[1], counted[2], counted[3]
  if max > 0 and count_live(name, max - elsewhere) + elsewhere >= max then
    return { 'too_many', name:match('^%a+'), max, void_claim() }
  end
  names[i] = name
end
local waiting = redis.call('XLEN', K.launches)
if waiting >= args.queue_max then return { 'full', waiting, void_claim() } end

if claim == '?' then return { 'claim' } end
if claim and redis.call('EXISTS', K.retired_claim .. claim) == 1 then return { 'retired' } end

local epoch = raise_epoch(room, math.max(args.epoch_above or 0, old and tonumber(old.epoch) or 0))
if old then remove(old) end
local rec = { session_id = sid, room_url = room }
local fields = {
  session_id = sid, room_url = room, state = 'queued', epoch = epoch, attempt = 1, refusals = 0,
  launch = args.launch, deadline_s = args.deadline_s, deadline_ms = now + args.deadline_s * 1000,
  created_ms = now, at_queued = now, join_token = args.token,
}
for name, value in pairs(args.record) do fields[name] = value end
if #names > 0 then fields.counted = table.concat(names, ' ') end
if args.runner_id then
  fields.state, fields.type, fields.at_starting = 'starting', 'warm', now
  fields.runner_id, fields.runner_url = args.runner_id, args.runner_url
  redis.call('SADD', K.runner_sessions .. args.runner_id, sid)
  redis.call('ZADD', K.leases, now + T.lease_ms, sid)
else
  enqueue(sid, fields, args.launch)
end
set(rec, fields)
write_room(rec, now)
redis.call('ZADD', K.deadlines, rec.deadline_ms, sid)
redis.call('ZADD', K.live, now, sid)
count(sid, rec.counted or '')
index(rec, now)
publish(rec, now)
return { 'new', epoch, now }
