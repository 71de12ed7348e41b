-- Shared part: stands before every script.
--
-- keys.py generates the tables K (key prefixes) and T (periods) above this part, so that a script can
-- build the keys of a room that it learns from a session record. All keys of one shard have the same
-- hash tag, so that Redis Cluster accepts keys that KEYS does not declare.
--
-- ARGV[1] is a MessagePack map of arguments by name; the head of each script lists the names it reads. An
-- absent argument is nil. cmsgpack decodes a map in half the time of cjson (accept: 2.2 and 4.4 µs), and
-- cjson would decode null to a value that is true.
local args = cmsgpack.unpack(ARGV[1])

-- Return the time of Redis in milliseconds since the Unix epoch.
local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- Let the script write although Redis has reached its memory limit. Redis then refuses the first
-- write of a script if that command may allocate memory, but none after the first write, because
-- half of a decision would be worse. DEL never allocates. Scripts that free memory or keep calls alive
-- begin with this; accept does not.
local function write_even_when_full()
  redis.call('DEL', K.write_check)
end

local LIVE = { queued = true, starting = true, running = true }

-- Return the record of a session as a table, or nil if there is none. All values are strings.
local function read(sid)
  local flat = redis.call('HGETALL', K.session .. sid)
  if #flat == 0 then return nil end
  local rec = {}
  for i = 1, #flat, 2 do rec[flat[i]] = flat[i + 1] end
  return rec
end

-- Write the holder of the room, taken from the session record.
local function write_room(rec, now)
  redis.call('SET', K.room_active .. rec.room_url, cjson.encode({
    v = 1, status = rec.state, session_id = rec.session_id, epoch = tonumber(rec.epoch),
    type = rec.type, room_url = rec.room_url, user_id = rec.user_id, user_name = rec.user_name,
    runner_url = rec.runner_url, job_name = rec.job_name, pid = tonumber(rec.pid), timestamp = now,
  }))
end

-- Write the keepalive of the room; it expires with the lease.
local function write_keepalive(rec, lag_ms, now)
  redis.call('SET', K.room_keepalive .. rec.room_url, cjson.encode({
    v = 1, session_id = rec.session_id, user_id = rec.user_id, user_name = rec.user_name,
    epoch = tonumber(rec.epoch), timestamp = now, loop_lag_ms = lag_ms,
  }), 'PX', T.lease_ms)
end

-- Publish a change of state. In a cluster PUBLISH reaches every node, which makes each node as busy as
-- all of them; SPUBLISH (Redis 7) stays with the nodes of the shard. Redis 6.2 has neither SPUBLISH nor
-- redis.REDIS_VERSION_NUM.
local PUBLISH = IN_CLUSTER and redis.REDIS_VERSION_NUM and 'SPUBLISH' or 'PUBLISH'
local function publish(rec, now)
  redis.call(PUBLISH, K.changes, cjson.encode({
    session_id = rec.session_id, state = rec.state, epoch = tonumber(rec.epoch),
    attempt = tonumber(rec.attempt), reason = rec.reason, at_ms = now,
  }))
end

-- Set fields of the record in Redis and in `rec`. The value false removes a field.
local function set(rec, fields)
  local key, written, removed = K.session .. rec.session_id, {}, {}
  for name, value in pairs(fields) do
    if value ~= false then
      written[#written + 1] = name
      written[#written + 1] = value
      rec[name] = tostring(value)
    elseif rec[name] then
      removed[#removed + 1] = name
      rec[name] = nil
    end
  end
  if #written > 0 then redis.call('HSET', key, unpack(written)) end
  if #removed > 0 then redis.call('HDEL', key, unpack(removed)) end
end

-- Return the slot to the warm runner. The used slots are a set, so that each slot returns exactly once.
local function free_slot(rec)
  local runner = rec.runner_id
  if not runner then return end
  if redis.call('SREM', K.runner_sessions .. runner, rec.session_id) == 1
    and redis.call('ZSCORE', K.runner_free, runner) then
    redis.call('ZINCRBY', K.runner_free, 1, runner)
  end
end

local function drop_lease(rec)
  redis.call('ZREM', K.leases, rec.session_id)
  redis.call('DEL', K.room_keepalive .. rec.room_url)
end

local function drop_queue_entry(rec)
  if rec.entry then
    redis.call('XACK', K.launches, K.group, rec.entry)
    redis.call('XDEL', K.launches, rec.entry)
  end
end

-- Add the session to each limit set: the sets of its user, its tenant and its caller's address. The
-- record keeps the names of the sets, separated by spaces. They are sets, so that a session counts once
-- and Redis deletes those that become empty.
local function count(sid, names)
  for name in names:gmatch('%S+') do redis.call('SADD', K.live_of .. name, sid) end
end

-- Return the number of live sessions in a limit set. If the set has reached the maximum, first remove
-- the members that are not live: an older release did not remove a session at its end, and a record may
-- have expired.
local function count_live(name, max)
  local key = K.live_of .. name
  local size = redis.call('SCARD', key)
  if size < max then return size end
  -- 100 bounds the time of the script. Stale members beyond them are found by later joins.
  for _, sid in ipairs(redis.call('SRANDMEMBER', key, 100)) do
    local state = redis.call('HGET', K.session .. sid, 'state')
    if not LIVE[state or ''] then size = size - redis.call('SREM', key, sid) end
  end
  return size
end

local function uncount(rec)
  for name in (rec.counted or ''):gmatch('%S+') do
    redis.call('SREM', K.live_of .. name, rec.session_id)
  end
end

-- Return whether a user may reuse the session id: while the record of an ended session exists, the id
-- belongs to the user and tenant of that session.
local function is_owned_by(rec, user_id, tenant_id)
  if not rec.user_id and not rec.tenant_id then return true end
  return (rec.user_id or '') == (user_id or '') and (rec.tenant_id or '') == (tenant_id or '')
end

-- Return the key of what was said in a session. It is not a field of the record, which scripts read as a whole.
local function context_key(sid)
  return K.session .. sid .. K.context_suffix
end

-- End a session. No other code writes a final state.
local function finish(rec, state, reason, detail, token, now)
  redis.call('DEL', context_key(rec.session_id))
  uncount(rec)
  free_slot(rec)
  drop_lease(rec)
  drop_queue_entry(rec)
  redis.call('ZREM', K.deadlines, rec.session_id)
  redis.call('ZREM', K.live, rec.session_id)
  -- Without a detail of its own, an end that a caller has requested keeps the caller's.
  set(rec, { state = state, reason = reason, detail = detail or rec.stop and rec.detail or false,
    at_ended = now, ended_by = token, launch = false, stop = false, counted = false })
  local active = redis.call('GET', K.room_active .. rec.room_url)
  if active and cjson.decode(active).session_id == rec.session_id then
    redis.call('DEL', K.room_active .. rec.room_url)
  end
  redis.call('ZADD', K.ended, now, rec.session_id)
  -- An operator removes the record and all that refers to it; the key expires in case no operator runs.
  redis.call('PEXPIRE', K.ended, T.record_kept_ms + T.untidy_ms)
  redis.call('PEXPIRE', K.session .. rec.session_id, T.record_kept_ms + T.untidy_ms)
  publish(rec, now)
end

-- Append a launch to the queue. The record keeps the entry's id, so that the end can remove the entry.
local function enqueue(sid, fields, launch)
  fields.entry = redis.call('XADD', K.launches, '*', 'v', '1', 'session_id', sid,
    'epoch', fields.epoch, 'attempt', fields.attempt, 'launch', launch)
end

-- Return the key of the room's epoch counter. The key outlives the room's sessions, so it contains a
-- hash and not the room itself.
local function epoch_key(room)
  return K.room_epoch .. redis.sha1hex(room)
end

-- Increment the room's epoch. The counter outlives the sessions, so that no grant repeats an epoch.
local function raise_epoch(room, above)
  local key = epoch_key(room)
  local epoch = math.max(tonumber(redis.call('GET', key) or '0'), above) + 1
  redis.call('SET', key, epoch, 'PX', T.epoch_kept_ms)
  return epoch
end

-- Return the take-overs of a session, with who continues it after the last one; nil if there are none.
local function continued(rec, runner_id, now)
  if not rec.take_overs then return nil end
  local taken = cjson.decode(rec.take_overs)
  local last = taken[#taken]
  if not last.ran_ms then last.taken_by, last.ran_ms = runner_id, now end
  return cjson.encode(taken)
end

-- Move a session to `running`. No other code writes this state.
local function run(rec, holder, lag_ms, now)
  set(rec, { state = 'running', runner_id = holder.runner_id, runner_url = holder.runner_url,
    type = holder.type, pid = holder.pid, build = holder.build, at_running = now,
    take_overs = continued(rec, holder.runner_id, now) })
  redis.call('ZREM', K.deadlines, rec.session_id)
  redis.call('ZADD', K.leases, now + T.lease_ms, rec.session_id)
  drop_queue_entry(rec)
  write_room(rec, now)
  write_keepalive(rec, lag_ms, now)
  publish(rec, now)
end

-- Return the sorted sets that list the session by time: all sessions, those of its room, of its user.
local function indexes(rec)
  return { K.sessions, K.room_sessions .. rec.room_url,
    rec.user_id and (K.user_sessions .. rec.user_id) or nil }
end

-- Add the session to the sorted sets. An operator removes it; the sets expire in case no operator runs.
local function index(rec, now)
  local longest_ms = (rec.deadline_s + T.runs_max * (rec.max_duration_s or 0)) * 1000
  for _, name in ipairs(indexes(rec)) do
    redis.call('ZADD', name, now, rec.session_id)
    -- Sessions whose records have expired: nothing knows any more which sets refer to them.
    redis.call('ZREMRANGEBYSCORE', name, '-inf', now - T.listed_ms)
    local kept_ms = longest_ms + T.record_kept_ms + T.untidy_ms
    redis.call('PEXPIRE', name, math.max(redis.call('PTTL', name), kept_ms))
  end
end

-- Remove the record of an ended session and all that refers to it.
local function remove(rec)
  for _, name in ipairs(indexes(rec)) do redis.call('ZREM', name, rec.session_id) end
  redis.call('ZREM', K.ended, rec.session_id)
  redis.call('DEL', K.session .. rec.session_id)
end
