package catalog

// fieldRules say of each field what editors show, and what it may hold.
func fieldRules() map[string]func(*schema) {
	return map[string]func(*schema){
		"apiVersion":    described("The version of the format.", fixed(apiVersion)),
		"kind":          described("What the document is.", fixed(kind)),
		"metadata":      described("What the template is called."),
		"metadata.name": described("Lower case letters, digits and dashes, at most 63, not beginning with a dash.", matching(templateNames)),

		"spec":                         described("What a session runs."),
		"spec.displayName":             described("What people see; one line of at most 100 characters.", line(maxDisplayName), notEmpty),
		"spec.description":             described("One line of at most 500 characters.", line(maxDescription)),
		"spec.icon":                    described("The picture that the console shows.", choices(icons)),
		"spec.protocol":                described("What the session's stream speaks.", choices(protocols)),
		"spec.platforms":               described("Where it can run. Empty means anywhere, and needs both process and baseImage.", func(s *schema) { s.UniqueItems = true }),
		"spec.platforms[]":             choices(platforms),
		"spec.baseImage":               described("The container image, for docker and kubernetes.", pattern(images)),
		"spec.defaultResources":        described("The limits of a session, unless its launch names others."),
		"spec.defaultResources.cpu":    described("Cores, such as 500m or 2. Empty is no limit.", quantity),
		"spec.defaultResources.memory": described("Bytes, such as 512Mi or 2Gi. Empty is no limit.", quantity),
		"spec.defaultResources.gpus":   described("Whole GPUs that a session gets.", least(0)),

		"spec.env":                   described("Variables that are added to the session's environment."),
		"spec.env[].name":            described("Letters, digits and underscores, not beginning with a digit.", matching(variables)),
		"spec.env[].value":           described("What the variable holds.", withoutNULs),
		"spec.ports":                 described("Ports that a container listens on besides."),
		"spec.ports[].name":          described("Lower case letters, digits and dashes.", matching(portNames)),
		"spec.ports[].containerPort": described("1 to 65535.", between(1, maxPort)),
		"spec.ports[].protocol":      described("TCP unless it says UDP.", choices(transports)),

		"spec.vnc":          described("Where a session with protocol vnc serves RFB."),
		"spec.vnc.enabled":  described("Must be true for protocol vnc."),
		"spec.vnc.port":     described("The port in the container; 5900 if it is empty.", between(0, maxPort)),
		"spec.vnc.protocol": described("A name for people; nothing depends on it."),

		"spec.http":            described("How a session with protocol http serves its pages."),
		"spec.http.port":       described("The TCP port in the container.", between(0, maxPort)),
		"spec.http.tls":        described("Whether that speaks HTTPS. Its certificate is not verified."),
		"spec.http.path":       described("The page that a viewer begins at, with a query if need be; /.", pattern(webPaths)),
		"spec.http.healthPath": described("What answers with a status below 500 once the session is ready; path.", pattern(webPaths)),
		"spec.http.username":   described("Added to each request as basic authentication. $(NAME) stands for the variable of that name in env.", pattern(`^[^:\x00-\x1f\x7f-\x9f]*$`)),
		"spec.http.password":   described("Added to each request as basic authentication. $(NAME) stands for the variable of that name in env.", pattern(`^[^\x00-\x1f\x7f-\x9f]*$`)),
		"spec.http.prefixEnv":  described("The variable that tells the session below which path its pages are, such as SUBFOLDER.", optional(variables)),

		"spec.persistentHome": described("Keeps the home when the session ends, one for each user and template."),
		"spec.idleTimeout":    described("How long a session may go unused, from 1m to 8760h. Empty is for ever.", pattern(durations)),
		"spec.maxDuration":    described("How long it may run at a stretch, from 1m to 8760h. Empty is for ever.", pattern(durations)),
		"spec.onLimit":        described("What becomes of it then; hibernate needs persistentHome.", choices(onLimits)),
		"spec.onLost":         described("What becomes of a session that its agent does not have any more.", choices(onLosses)),

		"spec.container":              described("How platforms with containers run the image."),
		"spec.container.command":      described("What the image's entry point is given instead of the image's own command."),
		"spec.container.command[]":    withoutNULs,
		"spec.container.home":         described("Where the home is in the container; /home/streamspace.", pattern(homes)),
		"spec.container.shmSize":      described("The size of /dev/shm, such as 1Gi, which browsers need.", quantity),
		"spec.container.readOnlyRoot": described("Has nothing be written but the home, /tmp and /run."),
		"spec.container.pullPolicy":   described("When the image is pulled; missing.", choices(pullPolicies)),

		"spec.process":                 described("What the process platform runs."),
		"spec.process.command":         described("The program and its arguments, run in the home without a shell.", func(s *schema) { s.MinItems = 1 }),
		"spec.process.command[]":       withoutNULs,
		"spec.process.geometry":        described("The first size of the screen, such as 1280x800, with sides of 200 to 8192.", optional(sizes)),
		"spec.process.needs":           described("What must be installed on the agent's machine."),
		"spec.process.needs[].command": described("One command, which must be in the agent's PATH.", matching(commands)),
		"spec.process.needs[].install": described("How people get it.", line(maxDescription)),
	}
}
