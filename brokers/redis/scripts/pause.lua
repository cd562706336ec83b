-- Pauses or resumes the queue, or neither. ARGV: channel, 'pause', 'resume' or ''. Returns
-- since when the queue is paused, '' if it is not.
if ARGV[2] == 'pause' then
  redis.call('HSETNX', control, 'paused', now)
elseif ARGV[2] == 'resume' then
  redis.call('HDEL', control, 'paused')
  wake()
end
return redis.call('HGET', control, 'paused') or ''
