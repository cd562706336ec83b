-- Writes records; one stays as it is if it is of a later delivery than the new one.
-- KEYS: one for each record. ARGV: lifetime in seconds (0: for ever), then for each record: its
-- delivery, the record.

-- The delivery that a record is of. Leptir writes its own part last, so its last occurrence is
-- the true one, whatever a task's additional meta info holds.
local function delivery(record)
  local run = string.match(record, '.*"leptir":{(.*)$')
  if run then
    return string.match(run, '^"attempt":%d+,"delivery":(%d+)') or string.match(run, '^"delivery":(%d+)') or 0
  end
  local ok, other = pcall(cjson.decode, record) -- written by somebody else
  run = ok and type(other) == 'table' and other.leptir
  return type(run) == 'table' and run.delivery or 0
end

for i, key in ipairs(KEYS) do
  local new, record = ARGV[2 * i], ARGV[2 * i + 1]
  local old = redis.call('GET', key)
  if not old or (tonumber(delivery(old)) or 0) <= tonumber(new) then
    if ARGV[1] == '0' then
      redis.call('SET', key, record)
    else
      redis.call('SET', key, record, 'EX', ARGV[1])
    end
  end
end
return #KEYS
