// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"os"
	"strings"
)

const tomcatHome = "/usr/share/tomcat10"

// tomcat starts Debian's Tomcat in a CATALINA_BASE of its own, with an application that is a
// static page, /, and one that is made anew for each request and longer than Tomcat's buffer, /page.jsp: that one
// has no Content-Length. connector has the attributes of the Connector, beside port and protocol. The access log
// is tomcat/logs/access.log; its last column is the Connection header of the request.
func (h *host) tomcat(port, connector string) *server {
	h.t.Helper()
	for _, name := range []string{"web.xml", "logging.properties"} {
		raw, err := os.ReadFile("/etc/tomcat10/" + name)
		if err != nil {
			h.t.Fatal(err)
		}
		h.write("tomcat/conf/"+name, string(raw))
	}
	properties, err := os.ReadFile("/etc/tomcat10/catalina.properties")
	if err != nil {
		h.t.Fatal(err)
	}
	// Its own libraries need no search for annotations; it starts faster.
	h.write("tomcat/conf/catalina.properties", string(properties)+"\ntomcat.util.scan.StandardJarScanFilter.jarsToSkip=*.jar\n")
	h.write("tomcat/conf/server.xml", strings.NewReplacer("PORT", port, "ATTRIBUTES", connector).Replace(serverXML))
	h.write("tomcat/webapps/ROOT/index.html", "hello\n")
	h.write("tomcat/webapps/ROOT/page.jsp", pageJSP)
	for _, dir := range []string{"temp", "work", "logs"} {
		h.write("tomcat/"+dir+"/.keep", "")
	}
	cmd := h.command(tomcatHome+"/bin/catalina.sh", "run")
	base := h.dir + "/tomcat"
	cmd.Env = append(cmd.Env, "CATALINA_HOME="+tomcatHome, "CATALINA_BASE="+base, "CATALINA_TMPDIR="+base+"/temp",
		"CATALINA_OPTS=-Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
	s := h.start("tomcat", 0, cmd)
	s.await("its start", func() bool { return strings.Contains(s.read(s.log), "Server startup in") })
	return s
}

const pageJSP = `<%@ page session="false" contentType="text/plain" %>
<% for (int i = 0; i < 1000; i++) { %>line <%= i %> of the page
<% } %>
`

const serverXML = `<?xml version="1.0" encoding="UTF-8"?>
<Server port="-1" shutdown="SHUTDOWN">
  <Service name="Catalina">
    <Connector port="PORT" protocol="HTTP/1.1" ATTRIBUTES/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="webapps" unpackWARs="false" autoDeploy="false">
        <Valve className="org.apache.catalina.valves.AccessLogValve" directory="logs"
               prefix="access" suffix=".log" rotatable="false" buffered="false"
               pattern="%h &quot;%r&quot; %s %{Connection}i"/>
      </Host>
    </Engine>
  </Service>
</Server>
`
