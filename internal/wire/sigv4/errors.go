package sigv4

// Error is a refusal. Status, Code and Message are what the caller is told, in
// the words of one style of API; In says the same in those of another.
type Error struct {
	Status  int
	Code    string
	Message string

	reason reason
	detail string // the particulars, where the reason has any
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Style is a family of APIs that name the same refusals alike.
type Style uint8

// The families: AWS JSON and REST-JSON; AWS Query (STS, CloudWatch); S3.
const (
	StyleJSON Style = iota
	StyleQuery
	StyleS3
)

// In returns the refusal in the words of style s.
func (e *Error) In(s Style) *Error {
	w := words[e.reason][s]
	msg := w.message
	if msg == "" {
		msg = e.detail
	}
	return &Error{Status: w.status, Code: w.code, Message: msg, reason: e.reason, detail: e.detail}
}

// Missing is the refusal of a request without any authentication.
func Missing() *Error { return fail(reasonMissing, "") }

// BadToken is the refusal of a session token that is worth nothing (any more).
func BadToken() *Error { return fail(reasonBadToken, "") }

func fail(r reason, detail string) *Error {
	return (&Error{reason: r, detail: detail}).In(StyleJSON)
}

// reason is why a request was refused.
type reason uint8

const (
	reasonMissing reason = iota
	reasonMalformed
	reasonMalformedQuery
	reasonTwice
	reasonUnsupported
	reasonUnknownKey
	reasonBadToken
	reasonExpiredToken
	reasonSignature
	reasonScope
	reasonSkewed
	reasonExpiredURL
	reasonNotYet
	reasonUnsigned
	reasonNoPayloadHash
	reasonPayload
	reasonContentHash
	reasonDigest
	reasonChecksum
	reasonIncomplete
	reasonV2
	reasonInvalidDigest
	reasonLengthRequired
	reasonMalformedTrailer
	reasonUnknownChecksum
	reasons // how many there are
)

type word struct {
	status  int
	code    string
	message string // "" shows the detail
}

const (
	textMismatch = "The request signature we calculated does not match the signature you provided. Check your AWS " +
		"Secret Access Key and signing method. Consult the service documentation for details."
	textBadToken = "The security token included in the request is invalid."
	textExpired  = "The security token included in the request is expired"
	textTwice    = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query " +
		"string parameter or the Authorization header should be specified"
	textUnsigned = "There were headers present in the request which were not signed"
)

// words names each refusal in each style (spec §1.7; S3's own error list). The
// reasons about payloads arise on S3 alone and have one wording.
var words = [reasons][3]word{
	reasonMissing: {
		{403, "MissingAuthenticationTokenException", "Missing Authentication Token"},
		{403, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		{403, "AccessDenied", "Access Denied"},
	},
	reasonMalformed: {
		{400, "IncompleteSignatureException", ""},
		{400, "IncompleteSignature", ""},
		{400, "AuthorizationHeaderMalformed", ""},
	},
	reasonMalformedQuery: {
		{400, "IncompleteSignatureException", ""},
		{400, "IncompleteSignature", ""},
		{400, "AuthorizationQueryParametersError", ""},
	},
	reasonTwice: {
		{400, "IncompleteSignatureException", textTwice},
		{400, "IncompleteSignature", textTwice},
		{400, "InvalidArgument", textTwice},
	},
	reasonUnsupported: {
		{400, "IncompleteSignatureException", ""},
		{400, "IncompleteSignature", ""},
		{400, "InvalidRequest", "The authorization mechanism you have provided is not supported. Please use " +
			"AWS4-HMAC-SHA256."},
	},
	reasonUnknownKey: {
		{400, "UnrecognizedClientException", textBadToken},
		{403, "InvalidClientTokenId", textBadToken},
		{403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."},
	},
	reasonBadToken: {
		{400, "UnrecognizedClientException", textBadToken},
		{403, "InvalidClientTokenId", textBadToken},
		{400, "InvalidToken", "The provided token is malformed or otherwise invalid."},
	},
	reasonExpiredToken: {
		{400, "ExpiredTokenException", textExpired},
		{403, "ExpiredToken", textExpired},
		{400, "ExpiredToken", "The provided token has expired."},
	},
	reasonSignature: {
		{400, "InvalidSignatureException", textMismatch},
		{403, "SignatureDoesNotMatch", textMismatch},
		{403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you " +
			"provided. Check your key and signing method."},
	},
	reasonScope: {
		{400, "InvalidSignatureException", ""},
		{403, "SignatureDoesNotMatch", ""},
		{400, "AuthorizationHeaderMalformed", ""},
	},
	reasonSkewed: {
		{400, "InvalidSignatureException", ""},
		{400, "RequestExpired", ""},
		{403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."},
	},
	reasonExpiredURL: {
		{400, "InvalidSignatureException", ""},
		{400, "RequestExpired", ""},
		{403, "AccessDenied", "Request has expired"},
	},
	reasonNotYet: {
		{400, "InvalidSignatureException", ""},
		{400, "RequestExpired", ""},
		{403, "AccessDenied", "Request is not yet valid"},
	},
	reasonUnsigned: {
		{400, "InvalidSignatureException", textUnsigned},
		{403, "SignatureDoesNotMatch", textUnsigned},
		{403, "AccessDenied", textUnsigned},
	},
	reasonNoPayloadHash: alike(
		400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256",
	),
	reasonPayload: alike(400, "InvalidRequest", ""),
	reasonContentHash: alike(
		400, "XAmzContentSHA256Mismatch",
		"The provided 'x-amz-content-sha256' header does not match what was computed.",
	),
	reasonDigest:         alike(400, "BadDigest", "The Content-MD5 you specified did not match what we received."),
	reasonChecksum:       alike(400, "BadDigest", ""),
	reasonIncomplete:     alike(400, "IncompleteBody", ""),
	reasonV2:             alike(403, "AccessDenied", ""),
	reasonInvalidDigest:  alike(400, "InvalidDigest", "The Content-MD5 you specified was invalid."),
	reasonLengthRequired: alike(411, "MissingContentLength", "You must provide the Content-Length HTTP header."),
	reasonMalformedTrailer: alike(
		400, "MalformedTrailerError",
		"The request contained trailing data that was not well-formed or did not conform to our published schema.",
	),
	reasonUnknownChecksum: alike(501, "NotImplemented", ""),
}

func alike(status int, code, message string) [3]word {
	w := word{status, code, message}
	return [3]word{w, w, w}
}
