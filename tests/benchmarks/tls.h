/* tls.h: dimseload and dimselimit over TLS, where they are compiled with -DTLS and -lssl -lcrypto. Without it they are
 * what they were.
 *
 * A descriptor that went through tls_connect or tls_accept has an SSL object, and read, write, writev and close of it
 * go through that; of every other descriptor they are the system's. Records are full (16 KiB): small pieces are
 * joined with what follows, and what one call writes leaves in pieces of 64 KiB. Reading asks the system once, for up
 * to 256 KiB, and gives all records that came: the next ones may be under way while these are worked on.
 *
 * The client offers one cipher suite of each version and one group, so that every server is measured with the same;
 * it checks no certificate, and resumes no session.
 */
#ifndef TLS
#define tls_client() 0
#define tls_server(certificate, key) 0
#define tls_connect(fd) 0
#define tls_accept(fd) 0
#define tls_said() ""
#else
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define TLS_RECORD 16384
#define TLS_WRITTEN 65536
#define TLS_TAKEN 262144
#define TLS_FDS 65536
#define TLS_GROUP "P-256"
static SSL_CTX*tls_context; static SSL*tls_objects[TLS_FDS];
static char tls_text[160]; static pthread_mutex_t tls_lock=PTHREAD_MUTEX_INITIALIZER;

static SSL*tls_of(int fd){ return fd>=0&&fd<TLS_FDS?tls_objects[fd]:NULL; }
static int tls_failed(const char*what){ fprintf(stderr,"TLS: %s: ",what); ERR_print_errors_fp(stderr); return -1; }

static int tls_begin(const SSL_METHOD*method){
  SSL_CTX*c=tls_context=SSL_CTX_new(method); if(!c) return tls_failed("no context");
  SSL_CTX_set_min_proto_version(c,TLS1_2_VERSION); SSL_CTX_set_session_cache_mode(c,SSL_SESS_CACHE_OFF); SSL_CTX_set_options(c,SSL_OP_NO_TICKET);
  SSL_CTX_set_read_ahead(c,1); SSL_CTX_set_default_read_buffer_len(c,TLS_TAKEN);
  return 0;
}
static int tls_client(void){
  if(tls_begin(TLS_client_method())) return -1;
  if(SSL_CTX_set_cipher_list(tls_context,"ECDHE-RSA-AES256-GCM-SHA384")!=1||SSL_CTX_set_ciphersuites(tls_context,"TLS_AES_256_GCM_SHA384")!=1||SSL_CTX_set1_groups_list(tls_context,TLS_GROUP)!=1) return tls_failed("no such suite or group");
  return 0;
}
static int tls_server(const char*certificate, const char*key){
  if(!certificate||!key){ fprintf(stderr,"over TLS: max_pdu, CERTIFICATE and KEY are needed (files in PEM)\n"); return -1; }
  if(tls_begin(TLS_server_method())) return -1;
  SSL_CTX_set_num_tickets(tls_context,0);
  if(SSL_CTX_use_certificate_chain_file(tls_context,certificate)!=1||SSL_CTX_use_PrivateKey_file(tls_context,key,SSL_FILETYPE_PEM)!=1) return tls_failed(certificate);
  return 0;
}

/* reads that may still be asked of the system; what would be one more has to be tried again */
static __thread int tls_reads;
static long tls_counted(BIO*b, int what, const char*p, size_t n, int i, long l, int result, size_t*done){
  if(what!=BIO_CB_READ||tls_reads-->0) return result;
  BIO_clear_retry_flags(b); BIO_set_retry_read(b); return -1;
}
static int tls_wrap(int fd, int (*shake_hands)(SSL*)){
  SSL*s=fd<TLS_FDS?SSL_new(tls_context):NULL; if(!s) return -1;
  BIO*net=BIO_new_socket(fd,BIO_NOCLOSE), *out=BIO_new(BIO_f_buffer()); BIO_up_ref(net); BIO_set_write_buffer_size(out,TLS_WRITTEN); BIO_push(out,net);
  BIO_set_callback_ex(net,tls_counted); SSL_set_bio(s,net,out); ERR_clear_error(); tls_reads=1<<20; if(shake_hands(s)!=1){ SSL_free(s); return -1; }
  tls_objects[fd]=s; return 0;
}
static int tls_accept(int fd){ return tls_wrap(fd,SSL_accept); }
static int tls_connect(int fd){
  if(tls_wrap(fd,SSL_connect)) return -1;
  pthread_mutex_lock(&tls_lock);
  if(!*tls_text) snprintf(tls_text,sizeof tls_text,",\"tls\":\"%s %s %s%s\"",SSL_get_version(tls_of(fd)),SSL_get_cipher_name(tls_of(fd)),TLS_GROUP,SSL_session_reused(tls_of(fd))?" resumed":"");
  pthread_mutex_unlock(&tls_lock); return 0;
}
/* what the first connection agreed on, as one more member of the JSON */
static const char*tls_said(void){ return tls_text; }

static ssize_t tls_read(int fd, void*b, size_t n){
  SSL*s=tls_of(fd); size_t all=0,k; if(!s) return read(fd,b,n);
  for(tls_reads=1;all<n;){
    if(SSL_read_ex(s,(uint8_t*)b+all,n-all,&k)==1){ all+=k; if(!SSL_has_pending(s)) break; }
    else if(all||SSL_get_error(s,0)!=SSL_ERROR_WANT_READ) break;
    else tls_reads=1; } /* only a part of a record has come */
  return all;
}
static int tls_put(SSL*s, const void*b, size_t n){ size_t k; if(SSL_write_ex(s,b,n,&k)==1) return 0; errno=EIO; return -1; }
static ssize_t tls_writev(int fd, const struct iovec*v, int n){
  SSL*s=tls_of(fd); uint8_t joined[TLS_RECORD]; size_t held=0,all=0; if(!s) return writev(fd,v,n);
  for(int i=0;i<n;i++){ const uint8_t*p=v[i].iov_base; size_t left=v[i].iov_len,k; all+=left;
    for(;left;p+=k,left-=k){
      if(!held&&left>=TLS_RECORD){ k=left/TLS_RECORD*TLS_RECORD; if(tls_put(s,p,k)) return -1; continue; }
      k=left<TLS_RECORD-held?left:TLS_RECORD-held; memcpy(joined+held,p,k); held+=k;
      if(held==TLS_RECORD){ if(tls_put(s,joined,held)) return -1; held=0; } } }
  if(held&&tls_put(s,joined,held)) return -1;
  if(BIO_flush(SSL_get_wbio(s))!=1){ errno=EIO; return -1; }
  return all;
}
static ssize_t tls_write(int fd, const void*b, size_t n){ struct iovec v={(void*)b,n}; return tls_of(fd)?tls_writev(fd,&v,1):write(fd,b,n); }
static int tls_close(int fd){
  SSL*s=tls_of(fd); if(s){ tls_objects[fd]=NULL; SSL_shutdown(s); BIO_flush(SSL_get_wbio(s)); SSL_free(s); }
  return close(fd);
}
#define read tls_read
#define write tls_write
#define writev tls_writev
#define close tls_close
#endif
