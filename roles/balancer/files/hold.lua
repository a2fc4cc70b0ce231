-- Managed by voicefleet.kokoro
-- Keeps a node's place taken for a second after it failed.
core.register_action("hold", {"http-res"}, function() core.msleep(1000) end)
