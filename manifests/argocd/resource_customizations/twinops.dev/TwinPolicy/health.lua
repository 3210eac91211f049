-- How Argo CD takes a DigitalTwin or a TwinPolicy. Both kinds have the same conditions, so both have the same file.
-- Reasons that pass by themselves once somebody else is done; every other one asks for a person.
local waits = {
  PolicyNotFound = true,
  PolicyNotReady = true,
  RateLimited = true,
}

local health = {}
local found = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    found[condition.type] = condition
  end
end

local function say(status, condition, otherwise)
  health.status = status
  health.message = otherwise
  if condition ~= nil then
    health.message = condition.reason
    if condition.message ~= nil and condition.message ~= "" then
      health.message = condition.reason .. ": " .. condition.message
    end
  end
  return health
end

local ready = found.Ready
if obj.metadata.deletionTimestamp ~= nil then
  if ready ~= nil and ready.status == "False" and (ready.reason == "DeletionHeld" or ready.reason == "DeletionFailed") then
    return say("Degraded", ready)
  end
  return say("Progressing", nil, "it is being deleted")
end
local paused = found.ReconciliationPaused
if paused ~= nil and paused.status == "True" then
  return say("Suspended", paused)
end
-- A status of an earlier generation says nothing about this one.
if ready == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return say("Progressing", nil, "it was not looked at yet")
end
if ready.status == "True" then
  return say("Healthy", ready)
end
if ready.status == "Unknown" or waits[ready.reason] then
  return say("Progressing", ready)
end
return say("Degraded", ready)
