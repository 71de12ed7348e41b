-- Stands before every script; K holds the key prefixes that keys.py spells, so that a script can
-- reach the keys of a room that it only learns from a session's record. All carry one hash tag.

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- Lets a script go on where Redis's memory is full. Redis refuses a script's first write there where
-- that one may take memory, and no later one: half of a decision would be worse. So the first one
-- removes something. All that frees memory or keeps calls alive begins with this; accepting does not.
local function write_even_when_full()
  redis.call('DEL', K.write_check)
end

local LIVE = { queued = true, starting = true, running = true }

-- Returns a session's record as a table, or nil where there is none.
local function read(sid)
  local flat = redis.call('HGETALL', K.session .. sid)
  if #flat == 0 then return nil end
  local rec = {}
  for i = 1, #flat, 2 do rec[flat[i]] = flat[i + 1] end
  return rec
end

-- Writes who holds the room, from the session's record.
local function write_room(rec, now)
  redis.call('SET', K.room_active .. rec.room_url, cjson.encode({
    v = 1, status = rec.state, session_id = rec.session_id, epoch = tonumber(rec.epoch),
    type = rec.type, room_url = rec.room_url, user_id = rec.user_id, user_name = rec.user_name,
    runner_url = rec.runner_url, job_name = rec.job_name, pid = tonumber(rec.pid), timestamp = now,
  }))
end

local function write_keepalive(rec, lag, now)
  redis.call('SET', K.room_keepalive .. rec.room_url, cjson.encode({
    v = 1, session_id = rec.session_id, user_id = rec.user_id, user_name = rec.user_name,
    epoch = tonumber(rec.epoch), timestamp = now, loop_lag_ms = lag,
  }), 'PX', T.lease_ms)
end

-- Tells everyone who waits for this session. In a cluster PUBLISH goes to all its nodes, and would keep
-- each as busy as all; SPUBLISH (Redis 7) stays with the nodes that have the shard.
local PUBLISH = IN_CLUSTER and redis.REDIS_VERSION_NUM and 'SPUBLISH' or 'PUBLISH'
local function publish(rec, now)
  redis.call(PUBLISH, K.changes, cjson.encode({
    session_id = rec.session_id, state = rec.state, epoch = tonumber(rec.epoch),
    attempt = tonumber(rec.attempt), reason = rec.reason, at_ms = now,
  }))
end

-- Sets fields in the record, which is known whole, and in Redis; false removes a field.
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

-- Gives a warm runner's slot back. The slots in use are a set, so that each returns exactly once.
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

local function drop_entry(rec)
  if rec.entry then
    redis.call('XACK', K.launches, K.group, rec.entry)
    redis.call('XDEL', K.launches, rec.entry)
  end
end

-- A live session is counted in some sets, of which its record holds the names: those of its user, its
-- tenant and its caller's address. Sets, so that it counts once, and so that none stays empty.
local function count(sid, names)
  for name in names:gmatch('%S+') do redis.call('SADD', K.live_of .. name, sid) end
end

-- Returns how many live sessions a set has. Where they are as many as may be, some are looked at first:
-- what an older release has ended, or whose record is gone, was not counted off.
local function count_live(name, most)
  local key = K.live_of .. name
  local found = redis.call('SCARD', key)
  if found < most then return found end
  for _, sid in ipairs(redis.call('SRANDMEMBER', key, 100)) do
    local state = redis.call('HGET', K.session .. sid, 'state')
    if not LIVE[state or ''] then found = found - redis.call('SREM', key, sid) end
  end
  return found
end

local function uncount(rec)
  for name in (rec.counted or ''):gmatch('%S+') do
    redis.call('SREM', K.live_of .. name, rec.session_id)
  end
end

-- Whose an ended session's id is: nobody else may join under it while its record is kept.
local function is_owned_by(rec, user, tenant)
  if not rec.user_id and not rec.tenant_id then return true end
  return (rec.user_id or '') == user and (rec.tenant_id or '') == tenant
end

-- The only way into a terminal state.
local function finish(rec, state, reason, detail, token, now)
  uncount(rec)
  free_slot(rec)
  drop_lease(rec)
  drop_entry(rec)
  redis.call('ZREM', K.deadlines, rec.session_id)
  redis.call('ZREM', K.live, rec.session_id)
  set(rec, { state = state, reason = reason, detail = detail ~= '' and detail or false,
    at_ended = now, ended_by = token, launch = false, stop = false, counted = false })
  local holder = redis.call('GET', K.room_active .. rec.room_url)
  if holder and cjson.decode(holder).session_id == rec.session_id then
    redis.call('DEL', K.room_active .. rec.room_url)
  end
  redis.call('ZADD', K.ended, now, rec.session_id)
  -- An operator removes it in time, with all that names it; these are for when none runs.
  redis.call('PEXPIRE', K.ended, T.record_kept_ms + T.untidy_ms)
  redis.call('PEXPIRE', K.session .. rec.session_id, T.record_kept_ms + T.untidy_ms)
  publish(rec, now)
end

-- Appends a launch to the queue; its entry is kept in the record, so that an ending can remove it.
local function enqueue(sid, fields, launch)
  fields.entry = redis.call('XADD', K.launches, '*', 'v', '1', 'session_id', sid,
    'epoch', fields.epoch, 'attempt', fields.attempt, 'launch', launch)
end

-- The counter outlives the room's sessions, and so does not name the room.
local function epoch_key(room)
  return K.room_epoch .. redis.sha1hex(room)
end

-- Raises the room's epoch. It outlives the session, so that no grant ever repeats a number.
local function raise_epoch(room, at_least)
  local key = epoch_key(room)
  local epoch = math.max(tonumber(redis.call('GET', key) or '0'), at_least) + 1
  redis.call('SET', key, epoch, 'PX', T.epoch_kept_ms)
  return epoch
end

-- The only way into `running`.
local function run(rec, runner, url, kind, pid, lag, now)
  set(rec, { state = 'running', runner_id = runner, runner_url = url, type = kind, pid = pid,
    at_running = now })
  redis.call('ZREM', K.deadlines, rec.session_id)
  redis.call('ZADD', K.leases, now + T.lease_ms, rec.session_id)
  drop_entry(rec)
  write_room(rec, now)
  write_keepalive(rec, lag, now)
  publish(rec, now)
end

-- Where a session is found by time, by room and by user.
local function indexes(rec)
  return { K.sessions, K.room_sessions .. rec.room_url,
    rec.user_id and (K.user_sessions .. rec.user_id) or nil }
end

-- An operator takes the session out of them; they go by themselves where none runs.
local function index(rec, now)
  local longest_ms = (rec.deadline_s + T.runs_max * (rec.max_duration_s or 0)) * 1000
  for _, name in ipairs(indexes(rec)) do
    redis.call('ZADD', name, now, rec.session_id)
    -- Those whose records went by themselves: nobody knows any more what had named them.
    redis.call('ZREMRANGEBYSCORE', name, '-inf', now - T.listed_ms)
    local kept_ms = longest_ms + T.record_kept_ms + T.untidy_ms
    redis.call('PEXPIRE', name, math.max(redis.call('PTTL', name), kept_ms))
  end
end

-- Removes a session that has ended, and all that names it.
local function remove(rec)
  for _, name in ipairs(indexes(rec)) do redis.call('ZREM', name, rec.session_id) end
  redis.call('ZREM', K.ended, rec.session_id)
  redis.call('DEL', K.session .. rec.session_id)
end
