-- recover: takes a session from a runner that died or refused, and queues it again under a higher
-- epoch. Fences first: from here on the old runner can neither run nor renew nor finish it.
-- KEYS[1] the session's record.
-- ARGV session id, epoch, why, most recoveries, most refusals, token of this call. Why is
--      'died': its runner is lost; needs a lease that has run out, but for a cold start whose
--      runner never came; counts as an attempt,
--      'unstarted': the hand-over was lost; needs a lease that has run out, and that it never ran,
--      'refused': the runner said no, or did not answer; needs that it never ran.
-- Returns {'queued', new epoch, attempt} | {'failed', reason} | {'held'} | {'gone'}.
local sid, epoch, why, recoveries_max, refusals_max, token =
  ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local now = now_ms()
write_even_when_full()
local rec = read(sid)
if rec and rec.recovered_by == token then
  return { 'queued', tonumber(rec.epoch), tonumber(rec.attempt) }
end
if not rec or rec.epoch ~= epoch then return { 'gone' } end
if not (rec.state == 'starting' or rec.state == 'running') then return { 'gone' } end
-- A start whose answer was lost did succeed: the bot is there, and stays.
if why ~= 'died' and rec.state == 'running' then return { 'held' } end
local lease = redis.call('ZSCORE', K.leases, sid)
local unclaimed = rec.state == 'starting' and not rec.runner_id -- a cold start; no bot entered
if why == 'unstarted' or (why == 'died' and not unclaimed) then
  if lease and tonumber(lease) > now then return { 'held' } end
end

if rec.stop then
  finish(rec, 'ended', rec.stop, '', token, now)
  return { 'failed', rec.reason }
end
local attempt, refusals = tonumber(rec.attempt), tonumber(rec.refusals or '0')
if why == 'died' then attempt = attempt + 1 else refusals = refusals + 1 end
if attempt > recoveries_max + 1 or refusals > refusals_max then
  finish(rec, 'failed', rec.at_running and 'runner_lost' or 'launch_failed', '', token, now)
  return { 'failed', rec.reason }
end
free_slot(rec)
drop_lease(rec)
drop_entry(rec)
-- What has run gets its time to start anew; what never did keeps the deadline that it was given.
local deadline = tonumber(rec.deadline_ms)
if rec.state == 'running' then deadline = now + tonumber(rec.deadline_s) * 1000 end
local fields = { state = 'queued', epoch = raise_epoch(rec.room_url, tonumber(rec.epoch)),
  attempt = attempt, refusals = refusals, at_queued = now, deadline_ms = deadline,
  recovered_by = token, runner_id = false, runner_url = false, job_name = false, pid = false,
  type = false, assigned_by = false }
enqueue(sid, fields, rec.launch)
set(rec, fields)
redis.call('ZADD', K.deadlines, deadline, sid)
write_room(rec, now)
publish(rec, now)
return { 'queued', tonumber(rec.epoch), attempt }
