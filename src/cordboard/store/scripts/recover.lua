-- recover: takes a session from a runner that died or refused, and queues it again under a higher
-- epoch. Fences first: from here on the old runner can neither run nor renew nor finish it.
-- KEYS[1] the session's record.
-- ARGV session id, epoch, 'died' or 'refused', most recoveries, most refusals, token of this call.
--      'died' needs a lease that has run out (a cold start without a lease counts as such).
-- Returns {'queued', new epoch, attempt} | {'failed', reason} | {'held'} | {'gone'}.
local sid, epoch, why, recoveries_max, refusals_max, token =
  ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local now = now_ms()
local rec = read(sid)
if rec and rec.recovered_by == token then
  return { 'queued', tonumber(rec.epoch), tonumber(rec.attempt) }
end
if not rec or rec.epoch ~= epoch then return { 'gone' } end
if not (rec.state == 'starting' or rec.state == 'running') then return { 'gone' } end
local lease = redis.call('ZSCORE', K.leases, sid)
if why == 'died' and lease and tonumber(lease) > now then return { 'held' } end

if rec.stop then
  finish(rec, 'ended', rec.stop, '', token, now)
  return { 'failed', rec.reason }
end
local attempt, refusals = tonumber(rec.attempt), tonumber(rec.refusals or '0')
if why == 'died' then attempt = attempt + 1 else refusals = refusals + 1 end
if attempt > recoveries_max + 1 or refusals > refusals_max then
  finish(rec, 'failed', why == 'died' and rec.state == 'running' and 'runner_lost' or 'launch_failed',
    '', token, now)
  return { 'failed', rec.reason }
end
free_slot(rec)
drop_lease(rec)
drop_entry(rec)
local deadline = now + tonumber(rec.deadline_s) * 1000
if why == 'refused' then deadline = tonumber(rec.deadline_ms) end
set(rec, { state = 'queued', epoch = raise_epoch(rec.room_url, tonumber(rec.epoch)),
  attempt = attempt, refusals = refusals, at_queued = now, deadline_ms = deadline,
  recovered_by = token, runner_id = false, runner_url = false, job_name = false, pid = false,
  type = false, assigned_by = false })
enqueue(rec)
redis.call('ZADD', K.deadlines, deadline, sid)
write_room(rec, now)
publish(rec, now)
return { 'queued', tonumber(rec.epoch), attempt }
