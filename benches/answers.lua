-- For wrk, which credentials.py starts: compares every answer with the one that the file named by the first word holds, and prints how many came,
-- in how many microseconds all of them, how many were wrong or failed, and then each latency in microseconds with how many had it.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(words)
  wrong, status_of_wrong = 0, nil
  local file = io.open(words[1], "rb")
  expected = file:read("*a")
  file:close()
end

function response(status, headers, body)
  if status ~= 200 or body ~= expected then
    wrong, status_of_wrong = wrong + 1, status
  end
end

function done(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  for _, thread in ipairs(threads) do
    failed = failed + thread:get("wrong")
    if thread:get("wrong") > 0 then
      print("wrong", thread:get("status_of_wrong"))
    end
  end
  print("all", summary.requests, summary.duration, failed)
  for at = 1, #latency do
    local value, count = latency(at)
    print("of", value, count)
  end
end
