use burn::tensor::*;
use burn::module::Module;
use fewstep::network::*;
use fewstep::denoiser::*;
fn main(){
  let args: Vec<usize> = std::env::args().skip(1).map(|a|a.parse().unwrap()).collect();
  let (ch,b)=(args[0],args[1]); let mult: Vec<usize>=args[3..].to_vec(); let blocks=args[2];
  let cfg=NetworkConfig::SongUnet(SongUNetConfig{resolution:32,channels:1,classes:10,model_channels:ch,channel_multipliers:mult,blocks,attention_resolutions:vec![8],augment_labels:0,dropout:0.0,step_branch:false});
  let dev=Device::flex();
  println!("MMAC {}", cfg.multiply_adds() as f64/1e6);
  let net=cfg.init(0,&dev).unwrap();
  println!("params {}", net.num_params());
  let d=Preconditioned::new(net.clone(),0.5);
  let x=fewstep::noise::latents(&(0..b as u64).collect::<Vec<_>>(),[1,32,32],&dev);
  let mut ts=vec![];
  for _ in 0..3 { let t=std::time::Instant::now(); let y=d.denoise(x.clone(),1.0,&Condition::default()); let _=y.into_data(); ts.push(t.elapsed().as_secs_f64()*1e3/b as f64);}
  println!("fwd ms/img {:?}", ts);
  let ad=dev.clone().autodiff();
  let dt=Preconditioned::new(net.to_device(&ad).train(),0.5);
  let mut ts=vec![];
  for _ in 0..3 { let t=std::time::Instant::now(); let y=dt.denoise(x.clone().to_device(&ad),1.0,&Condition::default()).square().sum(); let g=y.backward(); let _=y.into_data(); drop(g); ts.push(t.elapsed().as_secs_f64()*1e3/b as f64);}
  println!("fwd+bwd ms/img {:?}", ts);
}
