-- What wrk sends, chosen by the first argument behind "--": single, batch FILE, or search FILE.
-- A file of searches has one path a line; each connection walks through it from another place.

local mode, paths, nth = nil, {}, 0

function init(args)
  mode = args[1]
  math.randomseed(os.time())
  if mode == "single" then
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    wrk.body = '{"body":"kleedrac: any version of mplayer except for -k7 should work for your cpu"}'
  elseif mode == "batch" then
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/x-ndjson"
    wrk.body = assert(io.open(args[2])):read("*a")
  else
    for path in io.lines(args[2]) do paths[#paths + 1] = path end
    nth = math.random(#paths)
  end
end

function request()
  if mode ~= "search" then return wrk.format() end
  nth = nth % #paths + 1
  return wrk.format("GET", paths[nth])
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %.0f %.2f %.2f %d\n",
    summary.requests / (summary.duration / 1e6),
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
